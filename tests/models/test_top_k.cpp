// A trained model that is loaded with another number of experts a token. K choices, E experts.
#include <set>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <moe/base/files.h>
#include <moe/models/save.h>
#include <moe/parameters/list.h>
#include <moe/routing/kinds/expert_choice.h>
#include <moe/routing/kinds/hash.h>
#include <moe/routing/kinds/sigmoid.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace moe::models::top_k_test {
namespace {

using at::Tensor;
using test::TemporaryFolder;

constexpr int64_t kExperts = 4;

/// Kinds whose rule says how many experts a token gets.
const std::set<std::string> kOwnNumber = {"dense", "dynmoe", "replay", "threshold", "top_p"};
/// Kinds for which top_k is what a loss aims at in training, and evaluation does not look at it.
const std::set<std::string> kTarget = {"relu"};
/// Kinds that do not take any top_k.
const std::set<std::string> kFewOnly = {"switch", "base", "sparsemixer"};

/// Layers 1 and 3 route, 0 and 2 are as wide as the experts that are active in these.
DecoderOptions options_with(const RouterSpec& router, int64_t top_k) {
  DecoderOptions options = test::tiny_text_options();
  options.causal = false;  // expert choice looks ahead
  options.uniform.layers = 4;
  options.uniform.d_ff = 0;
  options.uniform.moe.num_experts = kExperts;
  options.uniform.moe.top_k = top_k;
  options.uniform.moe.router = router;
  options.uniform.moe.balance = {{"load", 0.1, {}}, {"usage_variance", 0.1, {}}};
  return options;
}

void save_model(const DecoderOptions& options, const Path& folder) {
  LoadedModel out;
  out.model = make_model(options, /*seed=*/5);
  out.config.set("model", write_fields(ModelSpec(options)));
  save_native(out, folder);
}

LoadedModel load_with(const Path& folder, int64_t top_k) {
  LoadOptions options;
  options.top_k = top_k;
  return load(folder, options);
}

test::RowsOutput run(Model& model) {
  return test::run_rows(model, at::arange(24, at::kLong).square().remainder(256).view({2, 12}));
}

void expect_same_bits(Model& a, Model& b) {
  const auto x = run(a), y = run(b);
  EXPECT_TRUE(at::equal(x.logits_BSV, y.logits_BSV));
  EXPECT_TRUE(at::equal(x.balance, y.balance));
  for (size_t i = 0; i < x.layers.size(); ++i) {
    EXPECT_TRUE(at::equal(x.layers[i].routing.experts_N, y.layers[i].routing.experts_N));
    EXPECT_TRUE(at::equal(x.layers[i].routing.weights_N, y.layers[i].routing.weights_N));
  }
}

TEST(TopK, OfTheTrainingIsTheSameModelAndAnotherIsThatOfAModelMadeWithIt) {
  for (const auto& kind : routing::routers().names()) {
    if (kOwnNumber.contains(kind) || kFewOnly.contains(kind)) continue;
    SCOPED_TRACE(kind);
    const TemporaryFolder folder;
    save_model(options_with({.kind = kind}, 2), folder / "saved");
    const auto stored = load(folder / "saved");
    expect_same_bits(*load_with(folder / "saved", 2).model, *stored.model);
    for (const int64_t K : {1, 3, 4}) {
      SCOPED_TRACE(K);
      const auto other = load_with(folder / "saved", K);
      // The same numbers in a model whose MoE layers have this K, and whose dense ones are as wide.
      auto options = options_with({.kind = kind}, K);
      options.uniform.d_ff = 2 * options.uniform.moe.expert.d_ff;
      const auto made = make_model(options, /*seed=*/6);
      const auto from = tensors_of(*other.model), to = tensors_of(*made);
      ASSERT_EQ(from.size(), to.size());
      const at::NoGradGuard no_grad;
      for (size_t i = 0; i < from.size(); ++i) Tensor(to[i].tensor).copy_(from[i].tensor);
      expect_same_bits(*other.model, *made);
      const auto out = run(*other.model);
      EXPECT_EQ(at::equal(out.logits_BSV, run(*stored.model).logits_BSV), kTarget.contains(kind));
    }
  }
}

TEST(TopK, GivesEveryTokenSoManyExperts) {
  const TemporaryFolder folder;
  save_model(options_with(SigmoidRouter{}, 2), folder / "saved");
  for (const int64_t K : {1, 2, 3, 4}) {
    const auto out = run(*load_with(folder / "saved", K).model);
    ASSERT_EQ(out.layers.size(), 2u);
    for (const auto& layer : out.layers) EXPECT_EQ(layer.routing.choices, K);
  }
}

TEST(TopK, IsRefusedWhereItMeansNothing) {
  const TemporaryFolder folder;
  const auto refusal = [&](const RouterSpec& router, int64_t stored, int64_t wanted) {
    save_model(options_with(router, stored), folder / "saved");
    return test::message_of([&] { load_with(folder / "saved", wanted); });
  };
  for (const int64_t K : {0, -1, 5})
    EXPECT_PRED2(test::contains, refusal({.kind = "topk"}, 2, K),
                 concat("expected top_k in [1, num_experts=4], got ", K));
  for (const auto& kind : kOwnNumber)
    for (const int64_t K : {1, 2})
      EXPECT_PRED2(test::contains, refusal({.kind = kind}, 2, K),
                   concat("got '", kind, "', whose rule says how many"));
  EXPECT_EQ(refusal({.kind = "switch"}, 1, 1), "");
  EXPECT_PRED2(test::contains, refusal({.kind = "switch"}, 1, 2), "expected top_k = 1, got 2");
  EXPECT_EQ(refusal(ExpertChoiceRouter{}, 2, 3), "");
  EXPECT_PRED2(test::contains, refusal(ExpertChoiceRouter{.capacity_factor = 1.5}, 2, 3),
               "got 'expert_choice', whose rule says how many");
  EXPECT_PRED2(test::contains, refusal(SigmoidRouter{.groups = 2, .kept_groups = 1}, 2, 3),
               "expected kept_groups that hold top_k=3");
  auto dense = options_with({}, 2);
  dense.uniform.moe.num_experts = 0;
  dense.uniform.d_ff = 8;
  save_model(dense, folder / "saved");
  EXPECT_ERROR(load_with(folder / "saved", 1), "expected a model with MoE layers for top_k=1");
}

TEST(TopK, OfABalancedTableIsAtMostThatOfItsMaking) {
  const TemporaryFolder folder;
  const HashRouter balanced{.table = "balanced", .counts = std::vector<int64_t>(256, 3)};
  save_model(options_with(balanced, 3), folder / "saved");
  const auto stored = run(*load(folder / "saved").model);
  const auto first = run(*load_with(folder / "saved", 1).model);
  for (size_t i = 0; i < stored.layers.size(); ++i)
    EXPECT_TRUE(at::equal(first.layers[i].routing.experts_N,
                          stored.layers[i].routing.experts_N.view({-1, 3}).select(1, 0)));
  const auto wide = load_with(folder / "saved", 4);
  EXPECT_ERROR(run(*wide.model), "expected at most the 3 experts an id");
}

TEST(TopK, IsTakenByModelsOfOtherPrograms) {
  const Path folder = Path(MOE_SOURCE_DIR) / "tests" / "golden" / "mixtral_basic" / "model";
  const auto stored = load(folder);
  const auto ids = at::tensor({1, 2, 3, 4, 5}, at::kLong).view({1, 5});
  const auto before = test::run_rows(*stored.model, ids);
  EXPECT_TRUE(
      at::equal(test::run_rows(*load_with(folder, 2).model, ids).logits_BSV, before.logits_BSV));
  const auto one = test::run_rows(*load_with(folder, 1).model, ids);
  EXPECT_EQ(one.layers.front().routing.choices, 1);
  EXPECT_TRUE(at::equal(one.layers.front().routing.experts_N,
                        before.layers.front().routing.experts_N.view({-1, 2}).select(1, 0)));
  EXPECT_ERROR(load_with(Path(MOE_SOURCE_DIR) / "tests/golden/llama_tied/model", 1),
               "got a dense one");
}

}  // namespace
}  // namespace moe::models::top_k_test
