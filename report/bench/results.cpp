#include <cmath>
#include <limits>

#include <moe/base/error.h>
#include <moe/formats/strict_json.h>
#include <report/bench/results.h>

namespace moe::report::bench {

namespace {

using nlohmann::json;

constexpr const char* kPlaceOfResults = "analyze/bench";
constexpr uint64_t kLargestFile = uint64_t{1} << 26;
constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

/// Fields of one line, each checked as it is read.
class Fields {
 public:
  Fields(const json& object, std::string what) : object_(object), what_(std::move(what)) {}

  bool has(const char* name) const { return object_.contains(name); }

  Fields at(const char* name) const {
    require(has(name) && object_[name].is_object(), name, "an object");
    return {object_[name], what_};
  }
  std::string text(const char* name) const {
    require(has(name) && object_[name].is_string(), name, "text");
    return object_[name].get<std::string>();
  }
  int64_t count(const char* name) const {
    require(has(name) && object_[name].is_number_integer() && object_[name] >= 1 &&
                object_[name] <= int64_t{1} << 40,
            name, "a whole number of at least 1");
    return object_[name].get<int64_t>();
  }
  /// At least 0.
  double number(const char* name) const {
    require(has(name) && object_[name].is_number(), name, "a number");
    const auto value = object_[name].get<double>();
    require(std::isfinite(value) && value >= 0, name, "a number of at least 0");
    return value;
  }
  double number_or(const char* name, double otherwise) const {
    return has(name) ? number(name) : otherwise;
  }
  /// Above 0: what others are divided by.
  double time(const char* name) const {
    const double value = number(name);
    require(value > 0, name, "a time above 0");
    return value;
  }

 private:
  void require(bool ok, const char* name, const char* expected) const {
    if (ok) return;
    const std::string found =
        has(name)
            ? formats::in_quotes(object_[name].dump(-1, ' ', true, json::error_handler_t::replace))
            : "none";
    fail<Error>(kPlaceOfResults, "expected '", name, "' to be ", expected, " in ", what_, ", got ",
                found,
                ". Give what `moe bench suite --out` or benchmarks/peers/time_layers.py wrote.");
  }

  const json& object_;
  std::string what_;
};

BenchHead head_of(const Fields& f) {
  const Fields limits = f.at("limits");
  return {.date = f.text("date"),
          .version = f.text("version"),
          .cpu = f.text("cpu"),
          .instruction_set = f.text("instruction_set"),
          .threads = f.count("threads"),
          .float32 = limits.number("float32_gflops"),
          .bfloat16 = limits.number("bfloat16_gflops"),
          .int8 = limits.number("int8_gops"),
          .read = limits.number("read_gb_s")};
}

BenchWork work_of(const Fields& f) {
  return {.tokens = f.count("tokens"),
          .d_model = f.count("d_model"),
          .d_ff = f.count("d_ff"),
          .experts = f.count("experts"),
          .top_k = f.count("top_k"),
          .mode = f.text("mode"),
          .dtype = f.text("dtype"),
          .routing = f.text("routing")};
}

BenchRow row_of(const Fields& f) {
  BenchRow row;
  row.group = f.text("group");
  row.work = work_of(f);
  if (f.has("skipped")) {
    row.skipped = f.text("skipped");
    return row;
  }
  const Fields layer = f.at("layer");
  row.ms = layer.time("median_ms");
  row.gflops = layer.number("gflops");
  row.flops = layer.at("work").number("flops");
  row.bound_ms = layer.number_or("bound_ms", kMissing);
  row.moved_bytes = layer.has("bound") ? layer.at("bound").number("moved_bytes") : kMissing;
  row.cpu_wait = layer.number_or("cpu_wait", kMissing);
  row.busiest_share = f.number_or("busiest_share", kMissing);
  row.instruction_set = layer.has("instruction_set") ? layer.text("instruction_set") : "";
  row.dense_ms = f.has("dense") ? f.at("dense").time("median_ms") : kMissing;
  return row;
}

PeerRow peer_of(const Fields& f) {
  return {.peer = f.text("peer"),
          .is_dense = f.text("block") == "dense",
          .work = work_of(f),
          .ms = f.time("median_ms"),
          .ours_ms = f.time("ours_ms")};
}

}  // namespace

double BenchHead::peak(const std::string& dtype) const {
  if (dtype == "bfloat16") return bfloat16 > 0 ? bfloat16 : float32;
  return dtype == "float32" ? float32 : 0;
}

const PeerRow* BenchResults::best_peer(const BenchWork& work, bool is_dense) const {
  const PeerRow* best = nullptr;
  for (const auto& row : peers)
    if (row.work == work && row.is_dense == is_dense && (!best || row.ms < best->ms)) best = &row;
  return best;
}

BenchResults read_results(const std::vector<Path>& files, FileSystem& system) {
  BenchResults out;
  bool has_head = false;
  for (const auto& file : files) {
    const std::string content = read_file(system, file, kLargestFile);
    int64_t number = 0;
    for (size_t begin = 0, end; (end = content.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
      const std::string what = concat("line ", ++number, " of '", file.string(), "'");
      const json line = formats::parse_strict_json(
          std::string_view(content).substr(begin, end - begin), kPlaceOfResults, what);
      const Fields fields(line, what);
      if (fields.has("suite")) {
        out.head = head_of(fields.at("suite"));
        has_head = true;
      } else if (fields.has("peer")) {
        out.peers.push_back(peer_of(fields));
      } else if (!fields.has("peers_skipped")) {
        out.rows.push_back(row_of(fields));
      }
    }
  }
  check(has_head, kPlaceOfResults,
        "expected a line with 'suite', as `moe bench suite --out` writes "
        "it first, got none. Name that file too.");
  return out;
}

}  // namespace moe::report::bench
