// Tensors of other programs that are rearranged, stored in other ways or under other beginnings. No
// shape letters: tensors of any shape.
#include <tests/support/message_of.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <moe/models/expert_names.h>
#include <moe/models/name_map.h>

namespace moe::models::layouts_test {
namespace {

Tensor counted_up(at::IntArrayRef sizes) {
  return at::arange(c10::multiply_integers(sizes), at::kFloat).view(sizes);
}

/// Both ways of a layout on `ours`; gives theirs.
Tensor there_and_back(const Layout& layout, const Tensor& ours) {
  const Tensor theirs = layout.to_theirs(ours);
  EXPECT_TRUE(at::equal(layout.to_ours(theirs, ours.sizes()), ours));
  EXPECT_TRUE(at::equal(layout.to_ours(theirs.contiguous(), ours.sizes()), ours));
  return theirs;
}

TensorShapes shapes_in(const TensorMap& map) {
  TensorShapes out;
  for (const auto& tensor : map.tensors()) out[tensor.name] = tensor.shape;
  return out;
}

std::string names_in_order(const TensorMap& map) {
  std::string out;
  for (const auto& tensor : map.tensors()) out += tensor.name + ' ';
  return out;
}

TEST(Layouts, TakeHalvesInTurn) {
  const Tensor ours = counted_up({2, 6, 3});
  const Tensor theirs = there_and_back(interleaved_rows(), ours);
  ASSERT_EQ(theirs.sizes(), ours.sizes());
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(at::equal(theirs.select(1, 2 * i), ours.select(1, i)));
    EXPECT_TRUE(at::equal(theirs.select(1, 2 * i + 1), ours.select(1, 3 + i)));
  }
  const Tensor bias = there_and_back(interleaved_rows(-1), counted_up({2, 4}));
  EXPECT_TRUE(at::equal(bias[0], at::stack({counted_up({4})[0], counted_up({4})[2],
                                            counted_up({4})[1], counted_up({4})[3]})));
  EXPECT_ERROR(interleaved_rows().to_theirs(counted_up({3, 2})), "expected two equal parts");
  EXPECT_ERROR(interleaved_rows().to_theirs(counted_up({4})), "expected two equal parts");
}

TEST(Layouts, FlattenAndAddOnes) {
  const Tensor ours = counted_up({2, 3, 4});
  EXPECT_TRUE(at::equal(there_and_back(flattened(), ours), counted_up({6, 4})));
  EXPECT_TRUE(at::equal(there_and_back(flattened(), ours.transpose(1, 2)),
                        ours.transpose(1, 2).reshape({8, 3})));
  EXPECT_EQ(there_and_back(with_ones({1}), counted_up({5, 4})).sizes(),
            (std::vector<int64_t>{5, 1, 4}));
  EXPECT_EQ(there_and_back(with_ones({0, 1, 3}), counted_up({3})).sizes(),
            (std::vector<int64_t>{1, 1, 3, 1}));
  EXPECT_TRUE(
      at::equal(there_and_back(transposition(), counted_up({3, 4})), counted_up({3, 4}).t()));
}

TEST(Layouts, SplitHeads) {
  // Two heads of 3 + 1 rows: ours are all threes, then all ones.
  const Tensor ours = counted_up({8, 2});
  const Tensor theirs = there_and_back(heads_split(2, {3, 1}), ours);
  const std::vector<int64_t> rows = {0, 1, 2, 6, 3, 4, 5, 7};
  for (int64_t r = 0; r < 8; ++r)
    EXPECT_TRUE(at::equal(theirs[r], ours[rows[static_cast<size_t>(r)]])) << r;
  EXPECT_EQ(there_and_back(heads_split(3, {2, 2, 4}), counted_up({24})).sizes(),
            (std::vector<int64_t>{24}));
  EXPECT_ERROR(heads_split(2, {3, 2}).to_theirs(ours), "expected 2 heads of 5 rows");
  EXPECT_ERROR(heads_split(2, {3, 2}).to_ours(ours, {8, 2}), "expected 2 heads of 5 rows");
}

/// Two layers of two experts of width 3 on 4 numbers, a router, a convolution and two projections.
Parameters sparse_parameters() {
  Parameters out;
  for (const std::string layer : {"layers.0.", "layers.1."}) {
    out.push_back({layer + "moe.router.weight", counted_up({2, 4}), {.role = Role::kScores}});
    out.push_back(
        {layer + "moe.experts.w_in", counted_up({2, 6, 4}), {.per_expert = true, .fused = {3, 3}}});
    out.push_back({layer + "moe.experts.b_in",
                   counted_up({2, 6}) + 100,
                   {.role = Role::kBias, .per_expert = true, .fused = {3, 3}}});
    out.push_back({layer + "moe.experts.w_out", counted_up({2, 4, 3}) + 200, {.per_expert = true}});
    out.push_back({layer + "w_q", counted_up({4, 4}) + 300, {}});
    out.push_back({layer + "w_gate", counted_up({2, 4}) + 400, {}});
    out.push_back({layer + "conv", counted_up({4, 3}) + 500, {}});
  }
  return out;
}

NameMap arranged_names() {
  return {same("h.{i}.router", "layers.{i}.moe.router.weight"),
          transposed(arranged(same("h.{i}.up", "layers.{i}.moe.experts.w_in"), interleaved_rows())),
          arranged(same("h.{i}.up_bias", "layers.{i}.moe.experts.b_in"), interleaved_rows(-1)),
          arranged(transposed(same("h.{i}.down", "layers.{i}.moe.experts.w_out")), flattened()),
          arranged(fused("h.{i}.q", {{"layers.{i}.w_q"}, {"layers.{i}.w_gate"}}),
                   heads_split(2, {2, 1})),
          arranged(same("h.{i}.conv", "layers.{i}.conv"), with_ones({1}))};
}

TEST(NameMap, ArrangesValuesAndGradientsBothWays) {
  const Parameters ours = sparse_parameters();
  const auto map = arranged_names().fill_in(ours);
  EXPECT_EQ(shapes_in(map), (TensorShapes{{"h.0.router", {2, 4}},
                                          {"h.0.up", {2, 4, 6}},
                                          {"h.0.up_bias", {2, 6}},
                                          {"h.0.down", {6, 4}},
                                          {"h.0.q", {6, 4}},
                                          {"h.0.conv", {4, 1, 3}},
                                          {"h.1.router", {2, 4}},
                                          {"h.1.up", {2, 4, 6}},
                                          {"h.1.up_bias", {2, 6}},
                                          {"h.1.down", {6, 4}},
                                          {"h.1.q", {6, 4}},
                                          {"h.1.conv", {4, 1, 3}}}));
  std::vector<Tensor> filled;
  for (const auto& parameter : ours) filled.push_back(at::zeros_like(parameter.tensor).sub_(1));
  for (const auto& tensor : map.tensors()) {
    const Tensor theirs = to_foreign(tensor, [&](size_t p) { return ours[p].tensor; });
    EXPECT_EQ(theirs.sizes(), tensor.shape) << tensor.name;
    EXPECT_EQ(tensor.is_parameter(), tensor.name.ends_with("router")) << tensor.name;
    from_foreign(tensor, theirs, [&](size_t p) { return filled[p]; });
    if (tensor.name == "h.1.up") {
      EXPECT_TRUE(at::equal(theirs[1].t()[1], ours[8].tensor[1][3]));
      EXPECT_TRUE(at::equal(theirs[1].t()[2], ours[8].tensor[1][1]));
    }
    if (tensor.name == "h.1.down") {
      EXPECT_TRUE(at::equal(theirs[4], ours[10].tensor[1].t()[1]));
    }
    if (tensor.name == "h.1.q") {
      EXPECT_TRUE(at::equal(theirs[2], ours[12].tensor[0]));
      EXPECT_TRUE(at::equal(theirs[3], ours[11].tensor[2]));
    }
  }
  for (size_t p = 0; p < ours.size(); ++p)
    EXPECT_TRUE(at::equal(filled[p], ours[p].tensor)) << ours[p].name;
}

TEST(NameMap, FillsRowsByThemselvesWhereTheyStayTogether) {
  const Parameters ours = sparse_parameters();
  const auto map = arranged_names().fill_in(ours);
  std::vector<Tensor> filled;
  for (const auto& parameter : ours) filled.push_back(at::zeros_like(parameter.tensor).sub_(1));
  std::map<std::string, int64_t> at_once;
  for (const auto& tensor : map.tensors()) {
    const Tensor theirs = to_foreign(tensor, [&](size_t p) { return ours[p].tensor; });
    const int64_t rows = at_once[tensor.name] = tensor.rows_at_once();
    ASSERT_GT(rows, 0) << tensor.name;
    for (int64_t first = 0; first < tensor.shape[0]; first += rows)
      from_foreign(
          tensor, theirs.narrow(0, first, std::min(rows, tensor.shape[0] - first)),
          [&](size_t p) { return filled[p]; }, first);
  }
  for (size_t p = 0; p < ours.size(); ++p)
    EXPECT_TRUE(at::equal(filled[p], ours[p].tensor)) << ours[p].name;
  EXPECT_EQ(at_once["h.0.router"], 1);
  EXPECT_EQ(at_once["h.0.up"], 1) << "one expert";
  EXPECT_EQ(at_once["h.0.up_bias"], 1);
  EXPECT_EQ(at_once["h.0.down"], 3) << "the rows of one expert";
  EXPECT_EQ(at_once["h.0.q"], 6) << "all: heads are taken apart";
}

Parameters experts_only() {
  Parameters out;
  for (auto& parameter : sparse_parameters())
    if (parameter.name.find("moe.") != std::string::npos &&
        parameter.name.find("b_in") == std::string::npos)
      out.push_back(parameter);
  return out;
}

NameMap block_names() {
  NameMap out = {};
  add_gate(out, "h.{i}.block_sparse_moe.", "layers.{i}.moe.");
  add_numbered_experts(out, "h.{i}.block_sparse_moe.", "layers.{i}.moe.");
  return out;
}

TEST(NameMap, TakesTheWayThatACheckpointStores) {
  const Parameters ours = experts_only();
  const std::string first =
      "h.0.block_sparse_moe.gate.weight h.0.block_sparse_moe.experts.0.w1.weight ";
  EXPECT_TRUE(names_in_order(block_names().fill_in(ours)).starts_with(first));
  const TensorShapes stacked = {{"h.0.mlp.gate.weight", {2, 4}},
                                {"h.0.mlp.experts.gate_up_proj", {2, 6, 4}},
                                {"h.0.mlp.experts.down_proj", {2, 4, 3}},
                                {"h.1.mlp.gate.weight", {2, 4}},
                                {"h.1.mlp.experts.gate_up_proj", {2, 6, 4}},
                                {"h.1.mlp.experts.down_proj", {2, 4, 3}}};
  const auto map = block_names().fill_in(ours, stacked);
  EXPECT_EQ(shapes_in(map), stacked);
  EXPECT_TRUE(map.tensors()[1].is_parameter());
  // A tensor is missing: the way is known all the same, and the message names it.
  auto fewer = stacked;
  fewer.erase("h.1.mlp.experts.down_proj");
  EXPECT_ERROR(block_names().fill_in(ours, fewer).check_tensors(fewer, "'x'"),
               "got 1 that differ. Check that configuration and weights belong together.\n  "
               "'h.1.mlp.experts.down_proj' is missing");
  // Nothing that fits: the family's own.
  EXPECT_TRUE(names_in_order(block_names().fill_in(ours, {{"x", {1}}})).starts_with(first));
  auto as_before = shapes_in(block_names().fill_in(ours));
  EXPECT_EQ(shapes_in(block_names().fill_in(ours, as_before)), as_before);
}

TEST(NameMap, TellsOrientationsApartByTheirShapes) {
  const Parameters ours = {
      {"moe.experts.w_in", counted_up({2, 6, 4}), {.per_expert = true, .fused = {3, 3}}},
      {"moe.experts.w_out", counted_up({2, 4, 3}), {.per_expert = true}}};
  NameMap names = {same("up", "moe.experts.w_in"), same("down", "moe.experts.w_out")};
  names.otherwise(
      {transposed(same("up", "moe.experts.w_in")), transposed(same("down", "moe.experts.w_out"))});
  const TensorShapes turned = {{"up", {2, 4, 6}}, {"down", {2, 3, 4}}};
  EXPECT_EQ(shapes_in(names.fill_in(ours, turned)), turned);
  const TensorShapes straight = {{"up", {2, 6, 4}}, {"down", {2, 4, 3}}};
  EXPECT_EQ(shapes_in(names.fill_in(ours, straight)), straight);
}

TEST(NameMap, KnowsOtherBeginnings) {
  const Parameters ours = experts_only();
  NameMap names = {ignored("h.*.extra"), tied("again", "layers.0.moe.router.weight")};
  add_gate(names, "h.{i}.mlp.", "layers.{i}.moe.");
  add_named_experts(names, "h.{i}.mlp.", "layers.{i}.moe.");
  names.prefix("h.", "text.h.");
  names.prefix("", "text.");
  const auto plain = names.fill_in(ours);
  TensorShapes prefixed, everywhere;
  for (const auto& [name, shape] : shapes_in(plain)) prefixed["text." + name] = shape;
  const auto map = names.fill_in(ours, prefixed);
  EXPECT_EQ(shapes_in(map), prefixed);
  EXPECT_TRUE(map.ignores("text.h.0.extra") && map.ignores("h.0.extra"));
  EXPECT_TRUE(map.tied_to("again").has_value()) << "the first beginning leaves it alone";
  EXPECT_EQ(shapes_in(names.fill_in(ours, shapes_in(plain))), shapes_in(plain));
  // Stacked and prefixed at once.
  const TensorShapes both = {{"text.h.0.mlp.gate.weight", {2, 4}},
                             {"text.h.0.mlp.experts.gate_up_proj", {2, 6, 4}},
                             {"text.h.0.mlp.experts.down_proj", {2, 4, 3}},
                             {"text.h.1.mlp.gate.weight", {2, 4}},
                             {"text.h.1.mlp.experts.gate_up_proj", {2, 6, 4}},
                             {"text.h.1.mlp.experts.down_proj", {2, 4, 3}}};
  EXPECT_EQ(shapes_in(names.fill_in(ours, both)), both);
}

TEST(NameMap, IgnoresSomeOnlyBesideOthers) {
  const Parameters ours = {{"w", counted_up({2}), {}}};
  const NameMap names = {same("w", "w"), ignored("h.1.*", "h.1.proj")};
  EXPECT_TRUE(names.fill_in(ours).ignores("h.1.x")) << "no checkpoint: it may be there";
  EXPECT_TRUE(names.fill_in(ours, {{"w", {2}}, {"h.1.proj", {1}}}).ignores("h.1.x"));
  EXPECT_FALSE(names.fill_in(ours, {{"w", {2}}, {"h.1.x", {1}}}).ignores("h.1.x"));
}

TEST(NameMap, RefusesMoreTensorsThanAnyCheckpointHas) {
  const Parameters ours = {
      {"w", at::empty({1'000'000'000, 4, 4}, at::TensorOptions(at::kMeta)), {.per_expert = true}}};
  const NameMap names = {stacked("e.{e}", "w")};
  EXPECT_ERROR(names.fill_in(ours), "got 1000000000 experts of 'w'");
}

TEST(NameMap, FillsInAHundredThousandTensors) {
  Parameters ours;
  NameMap names = {};
  TensorShapes checkpoint;
  add_named_experts(names, "model.layers.{i}.mlp.", "layers.{i}.moe.");
  const auto meta = [](at::IntArrayRef sizes) {
    return at::empty(sizes, at::TensorOptions(at::kMeta));
  };
  for (int64_t i = 0; i < 90; ++i) {
    const auto layer = concat("layers.", i, ".moe.experts.");
    ours.push_back({layer + "w_in", meta({384, 4, 2}), {.per_expert = true, .fused = {2, 2}}});
    ours.push_back({layer + "w_out", meta({384, 2, 2}), {.per_expert = true}});
  }
  const auto map = names.fill_in(ours);
  EXPECT_EQ(map.tensors().size(), 90u * 384 * 3);
  const auto shapes = shapes_in(map);
  map.check_tensors(shapes, "'x'");
  EXPECT_EQ(names.fill_in(ours, shapes).tensors().size(), map.tensors().size());
}

}  // namespace
}  // namespace moe::models::layouts_test
