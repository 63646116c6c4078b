#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include <moe/cluster/placement_file.h>
#include <moe/formats/strict_json.h>

namespace moe::cluster {

namespace {

using nlohmann::json;

constexpr const char* kFormatOfPlacement = "moe-expert-placement";
constexpr int64_t kVersionOfPlacement = 1;
constexpr uint64_t kLargestPlacement = uint64_t{64} << 20;

/// Reads values of a document, each of which it names when it is not what it should be.
class Reader {
 public:
  explicit Reader(std::string source) : source_(std::move(source)) {}

  template <class... Parts>
  void expect(bool ok, const Parts&... parts) const {
    check(ok, source_, parts..., " Write the file with moe place.");
  }
  void keys(const json& object, const std::string& where, const std::vector<std::string>& known,
            const std::string& may_be = "") const {
    expect(object.is_object(), "expected an object for ", where, ", got ", object.type_name(), '.');
    for (const auto& [key, value] : object.items())
      expect(std::ranges::find(known, key) != known.end() || (!may_be.empty() && key == may_be),
             "expected ", join(known), " in ", where, ", got ", formats::in_quotes(key), '.');
    for (const auto& key : known)
      expect(object.contains(key), "expected '", key, "' in ", where, ", found none.");
  }
  int64_t integer(const json& value, const std::string& where, int64_t least, int64_t most) const {
    expect(value.is_number_integer() && value >= least && value <= most, "expected ", where,
           " to be a whole number in [", least, ", ", most, "], got ", shown(value), '.');
    return value.get<int64_t>();
  }
  double number(const json& value, const std::string& where) const {
    expect(value.is_number() && value.get<double>() >= 0 && value.get<double>() < 1e18, "expected ",
           where, " to be a number of at least 0, got ", shown(value), '.');
    return value.get<double>();
  }
  std::vector<int32_t> ranks(const json& value, const std::string& where, int64_t count) const {
    expect(value.is_array() && !value.empty(), "expected a list of ranks for ", where, ", got ",
           shown(value), '.');
    std::vector<int32_t> out;
    for (const auto& rank : value)
      out.push_back(static_cast<int32_t>(integer(rank, "a rank of " + where, 0, count - 1)));
    return out;
  }
  const json& list(const json& value, const std::string& where) const {
    expect(value.is_array(), "expected a list for ", where, ", got ", value.type_name(), '.');
    return value;
  }
  static std::string shown(const json& value) {
    return formats::in_quotes(value.dump(-1, ' ', false, json::error_handler_t::replace));
  }

 private:
  std::string source_;
};

Replica read_replica(const Reader& read, const json& value, const std::string& where,
                     const Placement& rank_E, int64_t ranks) {
  read.keys(value, where, {"expert", "ranks"});
  Replica out;
  out.expert = read.integer(value["expert"], "the expert of " + where, 0,
                            static_cast<int64_t>(rank_E.size()) - 1);
  out.ranks = read.ranks(value["ranks"], where, ranks);
  read.expect(std::set(out.ranks.begin(), out.ranks.end()).size() == out.ranks.size(),
              "expected different ranks for ", where, ", got one twice.");
  read.expect(out.ranks.front() == rank_E[static_cast<size_t>(out.expert)],
              "expected the rank of rank_of_expert first in ", where, ", got ", out.ranks.front(),
              '.');
  return out;
}

PredictedRows read_predicted(const Reader& read, const json& value, const std::string& where) {
  read.keys(value, where, {"between_ranks", "between_nodes", "busiest_rank"});
  return {.between_ranks = read.number(value["between_ranks"], "between_ranks of " + where),
          .between_nodes = read.number(value["between_nodes"], "between_nodes of " + where),
          .busiest_rank = read.number(value["busiest_rank"], "busiest_rank of " + where)};
}

}  // namespace

std::string write_placement(const PlacementFile& placement) {
  nlohmann::ordered_json out = {{"format", kFormatOfPlacement},
                                {"version", kVersionOfPlacement},
                                {"ranks", placement.ranks},
                                {"ranks_per_node", placement.ranks_per_node},
                                {"layers", nlohmann::ordered_json::array()}};
  for (const auto& layer : placement.layers) {
    auto replicas = nlohmann::ordered_json::array();
    for (const auto& replica : layer.replicas)
      replicas.push_back({{"expert", replica.expert}, {"ranks", replica.ranks}});
    out["layers"].push_back(
        {{"layer", layer.layer}, {"rank_of_expert", layer.rank_E}, {"replicas", replicas}});
    if (const auto& predicted = layer.predicted)
      out["layers"].back()["predicted"] = {{"between_ranks", predicted->between_ranks},
                                           {"between_nodes", predicted->between_nodes},
                                           {"busiest_rank", predicted->busiest_rank}};
  }
  return out.dump() + '\n';
}

PlacementFile parse_placement(std::string_view text, const std::string& source_name) {
  const Reader read(source_name);
  const json document = formats::parse_strict_json(text, source_name, "the placement");
  read.keys(document, "the placement", {"format", "version", "ranks", "ranks_per_node", "layers"});
  read.expect(document["format"] == kFormatOfPlacement, "expected format ", kFormatOfPlacement,
              ", got ", Reader::shown(document["format"]), '.');
  read.integer(document["version"], "version", kVersionOfPlacement, kVersionOfPlacement);
  PlacementFile out;
  out.ranks = read.integer(document["ranks"], "ranks", 1, kMostRanks);
  out.ranks_per_node = read.integer(document["ranks_per_node"], "ranks_per_node", 1, out.ranks);
  read.expect(out.ranks % out.ranks_per_node == 0, "expected ranks_per_node that divides ",
              out.ranks, ", got ", out.ranks_per_node, '.');
  std::set<int64_t> seen;
  for (const auto& value : read.list(document["layers"], "layers")) {
    const std::string where = concat("layer ", out.layers.size(), " of the list");
    read.keys(value, where, {"layer", "rank_of_expert", "replicas"}, "predicted");
    PlacedLayer layer;
    layer.layer = read.integer(value["layer"], "the number of " + where, 0, int64_t{1} << 20);
    read.expect(seen.insert(layer.layer).second, "expected each layer once, got layer ",
                layer.layer, " twice.");
    layer.rank_E = read.ranks(value["rank_of_expert"], where, out.ranks);
    std::set<int64_t> copied;
    for (const auto& replica : read.list(value["replicas"], "replicas of " + where)) {
      layer.replicas.push_back(
          read_replica(read, replica, "a replica of " + where, layer.rank_E, out.ranks));
      read.expect(copied.insert(layer.replicas.back().expert).second,
                  "expected each expert once among the replicas of ", where, ", got expert ",
                  layer.replicas.back().expert, " twice.");
    }
    if (value.contains("predicted"))
      layer.predicted = read_predicted(read, value["predicted"], "predicted of " + where);
    out.layers.push_back(std::move(layer));
  }
  return out;
}

std::string placement_text(const Path& path) {
  return read_file(real_files(), path, kLargestPlacement);
}

PlacementFile read_placement(const Path& path) {
  return parse_placement(placement_text(path), path.string());
}

}  // namespace moe::cluster
