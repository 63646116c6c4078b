// Placement files: read back what was written, refuse anything else.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/cluster/placement_file.h>

#include "tests/support/message_of.h"

namespace moe::test {
namespace {

using nlohmann::json;

cluster::PlacementFile small_placement() {
  return {.ranks = 4,
          .ranks_per_node = 2,
          .layers = {{.layer = 1, .rank_E = {0, 0, 1, 2, 3}, .replicas = {{2, 0, {1, 3}}}},
                     {.layer = 3, .rank_E = {3, 2, 1, 0}}}};
}

TEST(PlacementFile, ReadsWhatItWrites) {
  const auto file = small_placement();
  const auto text = cluster::write_placement(file);
  const auto read = cluster::parse_placement(text, "placement.json");
  EXPECT_EQ(read.ranks, 4);
  EXPECT_EQ(read.ranks_per_node, 2);
  ASSERT_EQ(read.layers.size(), 2u);
  EXPECT_EQ(read.layers[0].layer, 1);
  EXPECT_EQ(read.layers[0].rank_E, file.layers[0].rank_E);
  ASSERT_EQ(read.layers[0].replicas.size(), 1u);
  EXPECT_EQ(read.layers[0].replicas[0].expert, 2);
  EXPECT_EQ(read.layers[0].replicas[0].ranks, (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(cluster::write_placement(read), text);
}

TEST(PlacementFile, RefusesAnythingElse) {
  const json good = json::parse(cluster::write_placement(small_placement()));
  const auto refused = [&](const auto& change, const std::string& part) {
    json bad = good;
    change(bad);
    EXPECT_ERROR(cluster::parse_placement(bad.dump(), "bad.json"), part);
    EXPECT_ERROR(cluster::parse_placement(bad.dump(), "bad.json"), "[bad.json]");
  };
  EXPECT_ERROR(cluster::parse_placement("", "bad.json"), "bad.json");
  EXPECT_ERROR(cluster::parse_placement("[]", "bad.json"), "bad.json");
  refused([](json& f) { f["format"] = "other"; }, "expected format moe-expert-placement");
  refused([](json& f) { f["version"] = 2; },
          "expected version to be a whole number in [1, 1], got '2'");
  refused([](json& f) { f["more"] = 2; }, "got 'more'");
  refused([](json& f) { f.erase("layers"); }, "expected 'layers' in the placement");
  refused([](json& f) { f["ranks"] = 0; }, "expected ranks to be a whole number in [1, ");
  refused([](json& f) { f["ranks"] = 1.5; }, "got '1.5'");
  refused([](json& f) { f["ranks"] = int64_t{1} << 40; }, "expected ranks");
  refused([](json& f) { f["ranks_per_node"] = 3; }, "ranks_per_node that divides 4, got 3");
  refused([](json& f) { f["layers"] = 1; }, "expected a list for layers");
  refused([](json& f) { f["layers"][0] = 1; }, "expected an object for layer 0");
  refused([](json& f) { f["layers"][1]["layer"] = 1; }, "got layer 1 twice");
  refused([](json& f) { f["layers"][0]["rank_of_expert"][2] = 4; }, "in [0, 3], got '4'");
  refused([](json& f) { f["layers"][0]["rank_of_expert"][2] = -1; }, "in [0, 3], got '-1'");
  refused([](json& f) { f["layers"][0]["rank_of_expert"] = json::array(); },
          "expected a list of ranks");
  refused([](json& f) { f["layers"][0]["replicas"][0]["expert"] = 5; }, "in [0, 4], got '5'");
  refused(
      [](json& f) {
        f["layers"][0]["replicas"][0]["ranks"] = {3, 1};
      },
      "the rank of rank_of_expert first");
  refused([](json& f) { f["layers"][0]["replicas"][0]["ranks"] = {1, 1}; }, "got one twice");
  refused([](json& f) { f["layers"][0]["replicas"].push_back(f["layers"][0]["replicas"][0]); },
          "got expert 2 twice");
}

}  // namespace
}  // namespace moe::test
