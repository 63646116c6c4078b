// The smooth load against plain loops. T tokens, E experts, K choices per token.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <tests/balance/fixtures.h>

#include <ATen/ops/full_like.h>

namespace moe::balance::load_term_test {

namespace {

using moe::test::expect_gradients;
using moe::test::normal;
using moe::test::spread;
using namespace moe::test::balance;

constexpr int64_t T = 7;

/// A routing of a noisy router: clean logits, noisy ones and the noise's deviation are inputs.
Routing noisy_routing(const Tensor& logits_TE, const Tensor& noisy_TE, const Tensor& std_TE,
                      int64_t top_k) {
  Routing routing = routing_of(noisy_TE, top_k);
  routing.logits_TE = logits_TE;
  routing.noisy_logits_TE = noisy_TE;
  routing.noise_std_TE = std_TE;
  return routing;
}

Tensor noisy_logits() {
  return spread(normal({T, kExperts}, 32), 1e-3);
}

Tensor deviations() {
  return normal({T, kExperts}, 33).abs() + 0.3;
}

/// (std / mean)^2 of the loads, with the threshold of each expert found by sorting.
double naive_load(const Routing& routing, int64_t K, bool vmoe, double default_std) {
  std::vector<double> load(kExperts);
  for (int64_t t = 0; t < routing.tokens(); ++t) {
    const Tensor seen_E =
        (routing.noisy_logits_TE.defined() ? routing.noisy_logits_TE : routing.logits_TE)[t];
    for (int64_t e = 0; e < kExperts; ++e) {
      std::vector<double> rivals;
      for (int64_t other = 0; other < kExperts; ++other)
        if (vmoe || other != e) rivals.push_back(seen_E[other].item<double>());
      std::sort(rivals.rbegin(), rivals.rend());
      double chance = 1;  // nobody to beat
      if (K <= static_cast<int64_t>(rivals.size())) {
        const double std = routing.noise_std_TE.defined()
                               ? routing.noise_std_TE[t][e].item<double>()
                               : default_std;
        const double z =
            (routing.logits_TE[t][e].item<double>() - rivals[static_cast<size_t>(K - 1)]) / std;
        chance = 0.5 * (1 + std::erf(z / std::sqrt(2.0)));
      }
      load[static_cast<size_t>(e)] += chance;
    }
  }
  const double mean = std::accumulate(load.begin(), load.end(), 0.0) / kExperts;
  double variance = 0;
  for (const double value : load) variance += (value - mean) * (value - mean) / kExperts;
  return variance / (mean * mean);
}

TEST(LoadTerm, AgreesWithItsNaiveTwinInBothForms) {
  for (const std::string form : {"shazeer", "vmoe"})
    for (const int64_t K : {1, 2, 3, 4}) {
      SCOPED_TRACE(concat(form, ", K=", K));
      const bool vmoe = form == "vmoe";
      const Routing noisy = noisy_routing(logits_of(31, T), noisy_logits(), deviations(), K);
      const auto term = make("load", setting("form", form), kExperts, K);
      EXPECT_NEAR(value_of(*term, noisy).item<double>(), naive_load(noisy, K, vmoe, 0), 1e-12);

      const Routing clean = routing_of(logits_of(31, T), K);
      EXPECT_NEAR(value_of(*term, clean).item<double>(), naive_load(clean, K, vmoe, 1.0 / kExperts),
                  1e-12)
          << "without noise the deviation is 1/E";
      Table settings = setting("form", form);
      settings.set("noise_std", 0.7);
      const auto wider = make("load", settings, kExperts, K);
      EXPECT_NEAR(value_of(*wider, clean).item<double>(), naive_load(clean, K, vmoe, 0.7), 1e-12);
    }
}

TEST(LoadTerm, IsDifferentiableInLogitsThresholdsAndNoise) {
  for (const std::string form : {"shazeer", "vmoe"})
    for (const int64_t K : {1, 2, 4}) {
      SCOPED_TRACE(concat(form, ", K=", K));
      const auto term = make("load", setting("form", form), kExperts, K);
      expect_gradients(
          [&](const auto& in) { return value_of(*term, noisy_routing(in[0], in[1], in[2], K)); },
          {logits_of(34, T), noisy_logits(), deviations()});
    }
}

TEST(LoadTerm, CountsChoicesWhenTheNoiseIsSmall) {
  const Routing routing = routing_of(logits_of(35, T));
  const Tensor counts_E = routing.counts_E().to(at::kDouble), mean = counts_E.mean();
  const Tensor counted = (counts_E - mean).square().mean() / mean.square();
  const auto term = make("load", setting("noise_std", 1e-6));
  EXPECT_NEAR(value_of(*term, routing).item<double>(), counted.item<double>(), 1e-9);
}

TEST(LoadTerm, HasItsValueAtCollapseAndTakesNoiseThatEnded) {
  // Two choices, one of them sure: the other experts share the second place evenly.
  const double mean = (1 + 3 * 0.5) / 4;
  const double expected =
      ((1 - mean) * (1 - mean) + 3 * (0.5 - mean) * (0.5 - mean)) / 4 / (mean * mean);
  EXPECT_NEAR(value_of(*make("load"), collapsed()).item<double>(), expected, 1e-12);
  Routing silent = collapsed();
  silent.noisy_logits_TE = silent.logits_TE;
  silent.noise_std_TE = at::full_like(silent.logits_TE, 0);
  EXPECT_NEAR(value_of(*make("load"), silent).item<double>(), expected, 1e-12);
}

}  // namespace

}  // namespace moe::balance::load_term_test
