// B batch, S sequence, V vocabulary, T = B·S tokens, E experts, K choices.
#include <cmath>
#include <map>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <moe/models/forward_pass.h>
#include <moe/parameters/list.h>

#include "tests/support/message_of.h"
#include "tests/support/tiny_model.h"

namespace moe::models {
namespace {

using moe::test::tiny_model;
using moe::test::tiny_options;

TokenRows padded_rows() {
  return {at::tensor({1, 7, 3, 10, 2, 4, 4, 0, 0, 0}, at::kLong).view({2, 5}),
          at::tensor({1, 1, 1, 1, 1, 1, 1, 0, 0, 0}, at::kLong).view({2, 5}).to(at::kBool)};
}

std::map<std::string, Tensor> as_map(const NamedTensors& tensors) {
  std::map<std::string, Tensor> out;
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(out.emplace(name, tensor).second) << name;
  return out;
}

TEST(ForwardPass, GivesWhatIsAskedForAndNothingElse) {
  const auto model = tiny_model();
  const auto logits = as_map(forward_pass(*model, padded_rows(), {}));
  EXPECT_EQ(logits.size(), 1u);
  EXPECT_EQ(logits.at("logits").sizes(), (std::vector<int64_t>{2, 5, 11}));
  EXPECT_EQ(logits.at("logits").scalar_type(), at::kFloat);

  const auto routing = as_map(forward_pass(*model, padded_rows(), {.routing = true}));
  EXPECT_EQ(routing.size(), 4u);  // one sparse layer, the second
  EXPECT_EQ(routing.at("layers.1.router_logits").sizes(), (std::vector<int64_t>{10, 3}));
  EXPECT_EQ(routing.at("layers.1.experts").sizes(), (std::vector<int64_t>{10, 2}));
  EXPECT_EQ(routing.at("layers.1.experts").scalar_type(), at::kLong);
  EXPECT_EQ(routing.at("layers.1.weights").scalar_type(), at::kFloat);

  const auto gradients = as_map(forward_pass(*model, padded_rows(), {.gradients = true}));
  EXPECT_EQ(gradients.size(), 2 + model->parameters().size());
}

TEST(ForwardPass, LimitsExpertsByTheEvaluationFactor) {
  auto options = tiny_options();
  options.uniform.moe.capacity.factor = 0.01;  // for training, which this is not
  const auto free = as_map(forward_pass(*tiny_model(options), padded_rows(), {.routing = true}));
  EXPECT_TRUE(free.at("layers.1.experts").narrow(0, 0, 7).ge(0).all().item<bool>());
  options.uniform.moe.capacity.eval_factor = 0.2;
  EXPECT_ERROR(tiny_model(options), "Set order = \"token\"");
  options.uniform.moe.capacity.order = "token";
  const auto out = as_map(forward_pass(*tiny_model(options), padded_rows(), {.routing = true}));
  // Rows of the context length would have C = ceil(0.2 * 2 * 12 / 3) = 2 pairs an expert.
  const Tensor experts_TK = out.at("layers.1.experts"), weights_TK = out.at("layers.1.weights");
  for (int64_t e = 0; e < 3; ++e) {
    EXPECT_LE(experts_TK.narrow(0, 0, 5).eq(e).sum().item<int64_t>(), 2);
    EXPECT_LE(experts_TK.narrow(0, 5, 5).eq(e).sum().item<int64_t>(), 2);
  }
  EXPECT_LT(experts_TK.ge(0).sum().item<int64_t>(), 14);
  EXPECT_TRUE(weights_TK.masked_select(experts_TK.eq(-1)).eq(0).all().item<bool>());
  EXPECT_TRUE(weights_TK.masked_select(experts_TK.ge(0)).gt(0).all().item<bool>());
}

TEST(ForwardPass, PaddingHoldsZerosAndExpertMinusOne) {
  const auto out = as_map(forward_pass(*tiny_model(), padded_rows(), {.routing = true}));
  const auto padding = [](const Tensor& table_TX) { return table_TX.narrow(0, 7, 3); };
  EXPECT_TRUE(out.at("logits").select(0, 1).narrow(0, 2, 3).eq(0).all().item<bool>());
  EXPECT_TRUE(padding(out.at("layers.1.router_logits")).eq(0).all().item<bool>());
  EXPECT_TRUE(padding(out.at("layers.1.weights")).eq(0).all().item<bool>());
  EXPECT_TRUE(padding(out.at("layers.1.experts")).eq(-1).all().item<bool>());
  EXPECT_TRUE(out.at("layers.1.experts").narrow(0, 0, 7).ge(0).all().item<bool>());
}

TEST(ForwardPass, RealPositionsGiveWhatTheirRowGivesAlone) {
  const auto model = tiny_model();
  const auto out = as_map(forward_pass(*model, padded_rows(), {.routing = true}));
  const TokenRows alone = {padded_rows().ids_BS.narrow(0, 1, 1).narrow(1, 0, 2),
                           at::ones({1, 2}, at::kBool)};
  const auto expected = as_map(forward_pass(*model, alone, {.routing = true}));
  EXPECT_TRUE(at::allclose(out.at("logits").select(0, 1).narrow(0, 0, 2),
                           expected.at("logits").select(0, 0), 1e-5, 1e-6));
  EXPECT_TRUE(
      at::equal(out.at("layers.1.experts").narrow(0, 5, 2), expected.at("layers.1.experts")));
}

TEST(ForwardPass, ThePaddingsSideChangesNothing) {
  const auto model = tiny_model();
  const auto right = padded_rows();
  const TokenRows left = {right.ids_BS.roll({3}, {1}), right.valid_BS.roll({3}, {1})};
  const TokenRows rows_left = {
      at::cat({right.ids_BS.narrow(0, 0, 1), left.ids_BS.narrow(0, 1, 1)}),
      at::cat({right.valid_BS.narrow(0, 0, 1), left.valid_BS.narrow(0, 1, 1)})};
  const auto a = as_map(forward_pass(*model, right, {.routing = true, .gradients = true}));
  const auto b = as_map(forward_pass(*model, rows_left, {.routing = true, .gradients = true}));
  EXPECT_TRUE(at::equal(a.at("logits").select(0, 1).narrow(0, 0, 2),
                        b.at("logits").select(0, 1).narrow(0, 3, 2)));
  EXPECT_TRUE(b.at("logits").select(0, 1).narrow(0, 0, 3).eq(0).all().item<bool>());
  EXPECT_TRUE(at::equal(a.at("layers.1.experts").narrow(0, 5, 2),
                        b.at("layers.1.experts").narrow(0, 8, 2)));
  for (const auto& [name, tensor] : a) {
    if (!name.starts_with("layers.") && name != "logits") {
      EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
    }
  }
}

TEST(ForwardPass, RoutingTablesBelongTogether) {
  const auto out = as_map(forward_pass(*tiny_model(), padded_rows(), {.routing = true}));
  // The default router: softmax over the logits, the best two, renormalised.
  const Tensor scores_TE = out.at("layers.1.router_logits").narrow(0, 0, 7).softmax(-1);
  const Tensor experts_TK = out.at("layers.1.experts").narrow(0, 0, 7);
  const auto [best_TK, best] = scores_TE.topk(2);
  EXPECT_TRUE(at::equal(best, experts_TK));
  EXPECT_TRUE(at::allclose(best_TK / best_TK.sum(-1, true),
                           out.at("layers.1.weights").narrow(0, 0, 7), 1e-5, 1e-6));
}

TEST(ForwardPass, RaggedRoutingsAreFilledUpWithExpertMinusOne) {
  auto options = tiny_options();
  options.uniform.moe.router.kind = "expert_choice";
  options.uniform.moe.router.options.set("allow_future", true);
  const auto rows = padded_rows();
  const auto out = as_map(forward_pass(*tiny_model(options), rows, {.routing = true}));
  const Tensor& experts_TK = out.at("layers.1.experts");
  const Tensor& weights_TK = out.at("layers.1.weights");
  EXPECT_EQ(experts_TK.size(0), 10);
  EXPECT_EQ(experts_TK.sizes(), weights_TK.sizes());
  EXPECT_TRUE(at::equal(experts_TK.eq(-1), weights_TK.eq(0)));
  EXPECT_TRUE(experts_TK.lt(3).all().item<bool>());
}

TEST(ForwardPass, LossIsTheMeanOverTargetsThatAreReal) {
  const auto model = tiny_model();
  const auto rows = padded_rows();
  const auto out = as_map(forward_pass(*model, rows, {.gradients = true}));
  const Tensor log_p_BSV = out.at("logits").to(at::kDouble).log_softmax(-1);
  double sum = 0;
  for (const auto& [row, s] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 0}, {0, 1}, {0, 2}, {0, 3}, {1, 0}})
    sum -= log_p_BSV[row][s][rows.ids_BS[row][s + 1].item<int64_t>()].item<double>();
  EXPECT_NEAR(out.at("loss").item<double>(), sum / 5, 1e-5);
}

TEST(ForwardPass, GradientsAreThoseOfFiniteDifferences) {
  auto options = tiny_options();
  options.tied_embeddings = true;
  const auto model = tiny_model(options);
  model->to(at::kDouble);
  const auto rows = padded_rows();
  const auto out = as_map(forward_pass(*model, rows, {.gradients = true}));
  const at::NoGradGuard no_grad;
  const auto loss = [&] {
    const Packing packing(rows.valid_BS);
    const Tensor hidden_TD =
        model->forward(moe::test::inputs_of(rows.ids_BS, packing), {}).hidden_TD;
    return next_token_loss(*model, hidden_TD, rows).item<double>();
  };
  for (const auto& [name, parameter, info] : parameters_of(*model)) {
    const Tensor& gradient = out.at("grad." + name);
    ASSERT_EQ(gradient.sizes(), parameter.sizes()) << name;
    const Tensor flat = parameter.view({-1}), flat_gradient = gradient.reshape({-1});
    const int64_t stride = std::max<int64_t>(1, flat.numel() / 4);
    for (int64_t i = 0; i < flat.numel(); i += stride) {
      const double before = flat[i].item<double>();
      constexpr double kStep = 1e-6;
      flat[i].fill_(before + kStep);
      const double above = loss();
      flat[i].fill_(before - kStep);
      const double below = loss();
      flat[i].fill_(before);
      EXPECT_NEAR(flat_gradient[i].item<double>(), (above - below) / (2 * kStep), 1e-7)
          << name << " element " << i;
    }
  }
}

TEST(ForwardPass, LeavesTheModelsGradientsAlone) {
  const auto model = tiny_model();
  forward_pass(*model, padded_rows(), {.gradients = true});
  for (const auto& parameter : model->parameters()) EXPECT_FALSE(parameter.grad().defined());
}

TEST(ForwardPass, RefusesGradientsWithoutATarget) {
  const TokenRows rows = {at::tensor({1, 2}, at::kLong).view({2, 1}), at::ones({2, 1}, at::kBool)};
  EXPECT_EQ(forward_pass(*tiny_model(), rows, {}).size(), 1u);
  EXPECT_ERROR(forward_pass(*tiny_model(), rows, {.gradients = true}), "nothing to predict");
}

TEST(ForwardPass, RefusesRowsLongerThanTheContext) {
  const TokenRows rows = {at::zeros({1, 13}, at::kLong), at::ones({1, 13}, at::kBool)};
  EXPECT_ERROR(forward_pass(*tiny_model(), rows, {}), "context_length=12");
}

}  // namespace
}  // namespace moe::models
