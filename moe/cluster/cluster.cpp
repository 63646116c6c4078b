#include <cmath>

#include <moe/cluster/cluster.h>
#include <moe/config/toml.h>

namespace moe::cluster {

namespace {

constexpr double kLargest = 1e30;

/// Throws ConfigError unless `value` is finite, at least 0 and, where it is needed, above it.
void check_number(const std::string& place, const char* key, double value, bool needed,
                  const char* why = "") {
  check<ConfigError>(std::isfinite(value) && value >= 0 && value < kLargest, "config", "expected '",
                     place, '.', key, "' in [0, 1e30), got ", value, ". Correct it.");
  check<ConfigError>(!needed || value > 0, "config", "expected '", place, '.', key, "' above 0",
                     why, ", got ", value,
                     ". Measure it (moe bench exchange) or take it from a data sheet.");
}

std::string inner(const std::string& place, const char* key) {
  return detail::dotted(place, key);
}

Cluster read_table(const Table& table, const std::string& source_name) {
  check<ConfigError>(!table.empty(), source_name,
                     "expected a description of machines, got an empty file. See "
                     "configs/clusters/ for examples.");
  Cluster out;
  read_fields(out, table, "");
  return out;
}

}  // namespace

void Link::validate(const std::string& place) const {
  check_number(place, "latency", latency, false);
  check_number(place, "bandwidth", bandwidth, false);
  check_number(place, "reduce_latency", reduce_latency, false);
  check_number(place, "reduce_bandwidth", reduce_bandwidth, false);
}

Link Link::of_sums() const {
  return {.latency = reduce_latency > 0 ? reduce_latency : latency,
          .bandwidth = reduce_bandwidth > 0 ? reduce_bandwidth : bandwidth};
}

void Processor::validate(const std::string& place) const {
  check_number(place, "float32", float32, true);
  check_number(place, "bfloat16", bfloat16, false);
  check_number(place, "float64", float64, false);
  check_number(place, "memory", memory, true);
  check_number(place, "memory_bandwidth", memory_bandwidth, true);
  check<ConfigError>(efficiency > 0 && efficiency <= 1, "config", "expected '", place,
                     ".efficiency' in (0, 1], got ", efficiency, ". Correct it.");
}

double Processor::rate(const std::string& dtype) const {
  if (dtype == "bfloat16" && bfloat16 > 0) return efficiency * bfloat16;
  if (dtype == "float64") return efficiency * (float64 > 0 ? float64 : float32 / 2);
  return efficiency * float32;
}

void Cluster::validate(const std::string& place) const {
  const auto check_count = [&](const char* key, int64_t value) {
    check<ConfigError>(value >= 1 && value <= kMostRanks, "config", "expected '", inner(place, key),
                       "' in [1, ", kMostRanks, "], got ", value, ". Correct it.");
  };
  check_count("nodes", nodes);
  check_count("ranks_per_node", ranks_per_node);
  check<ConfigError>(nodes <= kMostRanks / ranks_per_node, "config", "expected at most ",
                     kMostRanks, " ranks in all, got ", nodes, " nodes of ", ranks_per_node,
                     ". Lower one.");
  check<ConfigError>(std::isfinite(bisection) && bisection >= 0 && bisection < kLargest, "config",
                     "expected '", inner(place, "bisection"), "' in [0, 1e30), got ", bisection,
                     ". Correct it.");
  // A section that the file leaves out was not validated on its way in.
  rank.validate(inner(place, "rank"));
  if (ranks_per_node > 1)
    check_number(inner(place, "inside"), "bandwidth", inside.bandwidth, true,
                 " where a node has several ranks");
  if (nodes > 1)
    check_number(inner(place, "between"), "bandwidth", between.bandwidth, true,
                 " where there are several nodes");
}

Cluster Cluster::with_ranks(int64_t count) const {
  Cluster out = *this;
  check<ConfigError>(count >= 1 && count <= ranks(), "cluster", "expected ranks in [1, ", ranks(),
                     "], what ", nodes, " nodes of ", ranks_per_node, " have, got ", count,
                     ". Name fewer, or describe more machines.");
  if (count <= ranks_per_node) {
    out.nodes = 1;
    out.ranks_per_node = count;
  } else {
    check<ConfigError>(count % ranks_per_node == 0, "cluster", "expected whole nodes of ",
                       ranks_per_node, " ranks, got ", count, " ranks. Name a multiple.");
    out.nodes = count / ranks_per_node;
  }
  out.bisection = bisection * static_cast<double>(out.nodes) / static_cast<double>(nodes);
  return out;
}

Cluster parse_cluster(std::string_view text, const std::string& source_name) {
  return read_table(config::parse_toml(text, source_name), source_name);
}

Cluster read_cluster(const std::filesystem::path& path) {
  return read_table(config::read_toml(path), path.string());
}

std::string write_cluster(const Cluster& cluster, const std::string& comment) {
  std::string out;
  for (size_t begin = 0; begin < comment.size();) {
    const size_t end = std::min(comment.find('\n', begin), comment.size());
    out += "# " + comment.substr(begin, end - begin) + '\n';
    begin = end + 1;
  }
  return out + (out.empty() ? "" : "\n") + config::write_toml(write_fields(cluster));
}

}  // namespace moe::cluster
