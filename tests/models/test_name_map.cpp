// Names of tensors between two programs. Tensors of any shape: no shape letters.
#include <map>
#include <tests/support/message_of.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <moe/models/name_map.h>
#include <moe/models/name_pattern.h>

namespace moe::models {
namespace {

/// Numbers that differ from tensor to tensor.
Tensor numbered(at::IntArrayRef sizes, int64_t first) {
  return at::arange(first, first + c10::multiply_integers(sizes), at::kFloat).view(sizes);
}

Parameters some_parameters() {
  return {{"embedding", numbered({5, 2}, 0), {.role = Role::kEmbedding}},
          {"layers.0.norm", numbered({2}, 100), {.role = Role::kScale}},
          {"layers.1.norm", numbered({2}, 200), {.role = Role::kScale}},
          {"layers.0.w_in", numbered({3, 8, 2}, 300), {.per_expert = true, .fused = {4, 4}}},
          {"layers.1.w_q", numbered({4, 2}, 400), {}},
          {"layers.1.w_k", numbered({2, 2}, 500), {}},
          {"layers.1.b_in", numbered({6}, 600), {.role = Role::kBias, .fused = {2, 4}}}};
}

NameMap some_names() {
  return {same("emb.weight", "embedding"),
          same("h.{i}.ln", "layers.{i}.norm"),
          stacked("h.{i}.e.{e}.gate", "layers.{i}.w_in", kGate),
          transposed(stacked("h.{i}.e.{e}.up", "layers.{i}.w_in", kUp)),
          fused("h.{i}.qk", {{"layers.{i}.w_q"}, {"layers.{i}.w_k"}}),
          part("h.{i}.gate_bias", "layers.{i}.b_in", kGate),
          part("h.{i}.up_bias", "layers.{i}.b_in", kUp),
          same("h.{i}.absent", "layers.{i}.absent"),
          tied("head", "embedding"),
          ignored("*.inv_freq")};
}

std::map<std::string, std::vector<int64_t>> shapes_of(const TensorMap& map) {
  std::map<std::string, std::vector<int64_t>> out;
  for (const auto& tensor : map.tensors()) out[tensor.name] = tensor.shape;
  return out;
}

std::map<std::string, Tensor> foreign_tensors(const TensorMap& map, const Parameters& ours) {
  std::map<std::string, Tensor> out;
  for (const auto& tensor : map.tensors())
    out[tensor.name] = to_foreign(tensor, [&](size_t p) { return ours[p].tensor; });
  return out;
}

TEST(NamePattern, FindsAndPutsNumbers) {
  EXPECT_EQ(match_numbers("a.{i}.b.{e}", "a.3.b.12"), (Numbers{{"i", 3}, {"e", 12}}));
  EXPECT_EQ(match_numbers("a.b", "a.b"), Numbers());
  EXPECT_EQ(match_numbers("{i}{j}", "12"), std::nullopt) << "the first takes all digits";
  EXPECT_EQ(match_numbers("a.{i}.{i}", "a.3.3"), (Numbers{{"i", 3}}));
  for (const char* name :
       {"a.x", "a.", "a.03", "a.-3", "a.3x", "a.99999999999999999999", "b.3", "a.3.4"})
    EXPECT_EQ(match_numbers("a.{i}", name), std::nullopt) << name;
  EXPECT_EQ(put_numbers("a.{i}.b.{e}", {{"i", 3}, {"e", 12}}), "a.3.b.12");
  EXPECT_ERROR(put_numbers("a.{i}", {}), "expected a number for {i}");
  EXPECT_ERROR(match_numbers("a.{i", "a.3"), "expected a name between { and }");
}

TEST(NameMap, MakesTheirTensorsFromOurs) {
  const Parameters ours = some_parameters();
  const auto map = some_names().fill_in(ours);
  const auto theirs = foreign_tensors(map, ours);
  EXPECT_EQ(theirs.size(), 1u + 2 + 3 + 3 + 1 + 2);
  EXPECT_TRUE(at::equal(theirs.at("emb.weight"), ours[0].tensor));
  EXPECT_TRUE(at::equal(theirs.at("h.1.ln"), ours[2].tensor));
  EXPECT_TRUE(at::equal(theirs.at("h.0.e.2.gate"), ours[3].tensor[2].narrow(0, 0, 4)));
  EXPECT_TRUE(at::equal(theirs.at("h.0.e.1.up"), ours[3].tensor[1].narrow(0, 4, 4).t()));
  EXPECT_TRUE(at::equal(theirs.at("h.1.qk"), at::cat({ours[4].tensor, ours[5].tensor})));
  EXPECT_TRUE(at::equal(theirs.at("h.1.up_bias"), ours[6].tensor.narrow(0, 2, 4)));
  for (const auto& [name, shape] : shapes_of(map))
    EXPECT_EQ(theirs.at(name).sizes(), shape) << name;
}

TEST(NameMap, FillsOursFromTheirs) {
  const Parameters ours = some_parameters();
  const auto map = some_names().fill_in(ours);
  const auto theirs = foreign_tensors(map, ours);
  std::vector<Tensor> filled;
  for (const auto& parameter : ours) filled.push_back(at::zeros_like(parameter.tensor).sub_(1));
  for (const auto& tensor : map.tensors())
    from_foreign(tensor, theirs.at(tensor.name), [&](size_t p) { return filled[p]; });
  for (size_t p = 0; p < ours.size(); ++p)
    EXPECT_TRUE(at::equal(filled[p], ours[p].tensor)) << ours[p].name;
}

TEST(NameMap, NeedsNoMemory) {
  Parameters unfilled;
  for (const auto& [name, tensor, info] : some_parameters())
    unfilled.push_back({name, at::empty(tensor.sizes(), at::TensorOptions(at::kMeta)), info});
  EXPECT_EQ(shapes_of(some_names().fill_in(unfilled)),
            shapes_of(some_names().fill_in(some_parameters())));
}

TEST(NameMap, KnowsWhichTensorsAreWholeParameters) {
  std::string whole;
  const auto map = some_names().fill_in(some_parameters());
  for (const auto& tensor : map.tensors())
    if (tensor.is_parameter()) whole += tensor.name + ' ';
  EXPECT_EQ(whole, "emb.weight h.0.ln h.1.ln ");
}

TEST(NameMap, RefusesWhatIsNotCoveredOnce) {
  const auto refusal = [](const NameMap& names) {
    return moe::test::message_of([&] { names.fill_in(some_parameters()); });
  };
  auto names = some_names();
  EXPECT_EQ(refusal(names), "");
  names.add(same("other", "embedding"));
  EXPECT_TRUE(moe::test::contains(refusal(names),
                                  "\n  'embedding' is filled twice, the second time by 'other'"));
  names = some_names();
  names.add(same("h.0.ln", "layers.1.w_q"));
  EXPECT_TRUE(moe::test::contains(refusal(names), "\n  two rules make 'h.0.ln'"));
  const auto gaps =
      refusal({same("emb.weight", "embedding"), stacked("e.{e}", "layers.0.w_in", kUp)});
  EXPECT_TRUE(moe::test::contains(gaps, "\n  of 'layers.0.norm' 0 of 2 numbers are filled"))
      << gaps;
  EXPECT_TRUE(moe::test::contains(gaps, "\n  of 'layers.0.w_in' 24 of 48 numbers are filled"))
      << gaps;
  names = some_names();
  names.add(part("x", "layers.1.w_q", kUp));
  EXPECT_TRUE(moe::test::contains(
      refusal(names), "expected a matrix of the 0 that stand on one another in 'layers.1.w_q'"));
  EXPECT_ERROR(stacked("no number", "w"), "expected {e} in 'no number'");
  EXPECT_ERROR(
      (NameMap{fused("q", {{"layers.{i}.w_q"}, {"layers.{i}.w_v"}})}.fill_in(some_parameters())),
      "expected a parameter 'layers.1.w_v' of ours beside the others of its rule");
}

TEST(NameMap, CountsExpertsFromTheFirstOnThisRank) {
  Parameters ours = some_parameters();
  ours[3].info.first_expert = 6;
  const auto shapes = shapes_of(some_names().fill_in(ours));
  EXPECT_TRUE(shapes.contains("h.0.e.6.gate") && shapes.contains("h.0.e.8.up"));
  EXPECT_FALSE(shapes.contains("h.0.e.0.gate"));
}

TEST(TensorMap, ListsUnknownMissingAndMisshapenTensors) {
  const auto map = some_names().fill_in(some_parameters());
  auto shapes = shapes_of(map);
  map.check_tensors(shapes, "'x'");
  shapes["rope.inv_freq"] = {7};
  shapes["head"] = {5, 2};
  map.check_tensors(shapes, "'x'");
  shapes["head"] = {2, 5};
  shapes["h.1.ln"] = {3};
  shapes.erase("h.0.e.1.up");
  shapes["h.0.e.3.up"] = {2, 4};
  const auto message = moe::test::message_of([&] { map.check_tensors(shapes, "'x'"); });
  EXPECT_TRUE(moe::test::contains(message, "in 'x', got 4 that differ")) << message;
  for (const char* line : {"\n  'h.0.e.1.up' is missing", "\n  'h.0.e.3.up' is unknown",
                           "\n  'h.1.ln' has the shape [3] instead of [2]",
                           "\n  'head' has the shape [2, 5] instead of [5, 2]"})
    EXPECT_TRUE(moe::test::contains(message, line)) << line;
}

TEST(TensorMap, KnowsRepeatedAndIgnoredTensors) {
  const auto map = some_names().fill_in(some_parameters());
  EXPECT_EQ(map.tied_to("head"), std::optional<size_t>(0));
  EXPECT_EQ(map.tied_to("emb.weight"), std::nullopt);
  EXPECT_TRUE(map.ignores("h.3.rope.inv_freq"));
  EXPECT_FALSE(map.ignores("inv_freqs"));
}

}  // namespace
}  // namespace moe::models
