// The selection bias of the sigmoid router evens out a skewed load without a loss. T tokens, D
// width, E experts.
#include <algorithm>
#include <tests/support/gradcheck.h>
#include <tests/support/modules.h>

#include <ATen/core/grad_mode.h>

#include <moe/routing/router.h>

namespace moe::balance::loss_free_bias_test {

namespace {

constexpr int64_t kTokens = 512, kWidth = 8, kExperts = 8, kChoices = 2, kSteps = 200;

/// Largest load over the mean, as mean of the last 10 steps of a stream of random tokens that share
/// a direction, which the router's first two experts like.
double skew_at_the_end(uint64_t seed, double bias_rate) {
  const at::NoGradGuard no_grad;
  Table settings;
  settings.set("bias_rate", bias_rate);
  const auto router = moe::test::initialised(routing::routers().at("sigmoid").make(
      {.d_model = kWidth, .num_experts = kExperts, .top_k = kChoices}, settings));
  const Tensor weight_ED = router->named_parameters()["weight"];
  weight_ED.copy_(0.3 * moe::test::normal({kExperts, kWidth}, 1000 + seed));
  weight_ED.select(1, 0).slice(0, 0, 2).fill_(1.0);

  double total = 0;
  for (int64_t step = 0; step < kSteps; ++step) {
    Tensor x_TD = moe::test::normal({kTokens, kWidth}, seed * kSteps + static_cast<uint64_t>(step))
                      .to(at::kFloat);
    x_TD.select(1, 0).add_(2.0);
    const Tensor counts_E = router->forward(x_TD, {{.training = true}}).counts_E();
    router->end_step({.counts_E = counts_E, .step = step});
    if (step < kSteps - 10) continue;
    total += counts_E.max().item<double>() * kExperts / (kTokens * kChoices) / 10;
  }
  return total;
}

TEST(LossFreeBias, EvensASkewedLoadAndDoesNotWithoutARate) {
  for (const uint64_t seed : {1, 2, 3}) {
    EXPECT_GT(skew_at_the_end(seed, 0), 2.0) << "seed " << seed;
    EXPECT_LT(skew_at_the_end(seed, 0.01), 1.25) << "seed " << seed;
  }
}

}  // namespace

}  // namespace moe::balance::loss_free_bias_test
