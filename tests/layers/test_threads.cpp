// The MoE layer on one and on more threads. T tokens, D width, F hidden, E experts, K choices.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/modules.h>

#include <moe/layers/moe_layer.h>

namespace moe::layers::threads_test {

namespace {

using moe::test::expect_identical;
using moe::test::normal;
using moe::test::randomise;
using moe::test::WithThreads;

/// Output, input gradient and parameter gradients, in that order.
std::vector<Tensor> run(MoELayer& layer, const Tensor& x_TD, int threads) {
  const WithThreads these(threads);
  layer->zero_grad();
  const Tensor input_TD = x_TD.clone().requires_grad_(true);
  const Tensor y_TD = layer->forward(input_TD, {}).hidden_TD;
  y_TD.backward(x_TD);
  std::vector<Tensor> out = {y_TD.detach(), input_TD.grad()};
  for (const auto& parameter : layer->parameters()) out.push_back(parameter.grad().clone());
  return out;
}

TEST(MoELayer, ThreadsChangeNoBit) {
  for (const auto dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t E : {4, 64}) {
      SCOPED_TRACE(concat(dtype, ", E ", E));
      MoELayer layer(MoELayerOptions{
          .d_model = 96, .num_experts = E, .top_k = 2, .expert = {.kind = "gated", .d_ff = 160}});
      randomise(*layer, 1, 0.1);
      layer->to(dtype);
      const Tensor x_TD = normal({700, 96}, 2).to(dtype);
      const auto expected = run(layer, x_TD, 1);
      for (const int threads : {2, 3, 4}) {
        const auto got = run(layer, x_TD, threads);
        for (size_t i = 0; i < expected.size(); ++i)
          expect_identical(got[i], expected[i], concat(threads, " threads, tensor ", i));
      }
    }
}

}  // namespace

}  // namespace moe::layers::threads_test
