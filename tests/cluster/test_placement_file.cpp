// Placement files: read back what was written, refuse anything else.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/cluster/placement_file.h>

#include "tests/support/message_of.h"

namespace moe::test {
namespace {

using nlohmann::json;

cluster::PlacementFile small_placement() {
  return {
      .ranks = 4,
      .ranks_per_node = 2,
      .layers = {{.layer = 1, .rank_E = {0, 0, 1, 2, 3}, .replicas = {{2, 0, {1, 3}}}},
                 {.layer = 3,
                  .rank_E = {3, 2, 1, 0},
                  .predicted = {{.between_ranks = 1.5, .between_nodes = 1, .busiest_rank = 1.1}}}}};
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
  EXPECT_FALSE(read.layers[0].predicted.has_value());
  EXPECT_EQ(read.layers[1].predicted, file.layers[1].predicted);
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
  refused(
      [](json& f) { f["layers"][1]["predicted"]["busiest_rank"] = -1; },
      "busiest_rank of predicted of layer 1 of the list to be a number of at least 0, got '-1'");
  refused([](json& f) { f["layers"][1]["predicted"]["more"] = 1; }, "got 'more'");
  refused([](json& f) { f["layers"][1]["predicted"].erase("between_nodes"); },
          "expected 'between_nodes'");
}

TEST(PredictedRows, AreThoseOfPairsDealtOutOverCopies) {
  cluster::TrafficBuilder builder(0, 4);
  builder.add({0, 1}, 6);
  builder.add({0, 3}, 2);
  builder.add({2}, 2);  // 18 pairs of 10 tokens; 8, 6, 2 and 2 of the experts
  const auto traffic = std::move(builder).finish();
  const auto alone = cluster::predict_rows(traffic, {0, 1, 2, 3}, {}, 4, 2);
  EXPECT_DOUBLE_EQ(alone.between_ranks, 1.8 * 3 / 4);
  EXPECT_DOUBLE_EQ(alone.between_nodes, 1.8 / 2);
  EXPECT_DOUBLE_EQ(alone.busiest_rank, 8 / 4.5);
  const auto copied = cluster::predict_rows(traffic, {0, 1, 2, 3}, {{0, 0, {0, 2}}}, 4, 2);
  EXPECT_DOUBLE_EQ(copied.busiest_rank, 6 / 4.5);
  EXPECT_DOUBLE_EQ(copied.between_ranks, alone.between_ranks);
  EXPECT_ERROR(cluster::predict_rows(traffic, {0, 1}, {}, 4, 2), "each of 4 experts, got 2");
  cluster::TrafficBuilder empty(0, 4);
  const auto none = cluster::predict_rows(std::move(empty).finish(), {0, 1, 2, 3}, {}, 4, 2);
  EXPECT_EQ(none.between_ranks, 0);
  EXPECT_EQ(none.busiest_rank, 1);
}

}  // namespace
}  // namespace moe::test
