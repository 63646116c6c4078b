// Ten steps of every architecture in float64, against losses written down. They change only when
// the arithmetic does: then say why, and write down what the failing test prints. T tokens, N
// images.
#include <iomanip>
#include <sstream>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <gtest/gtest.h>

#include <moe/models/architectures/decoder.h>
#include <moe/models/architectures/vision.h>

#include "tests/support/gradcheck.h"

namespace moe::models::golden_steps_test {
namespace {

using test::normal;

template <class Options>
Options with_small_blocks(Options o) {
  o.d_model = 8;
  o.uniform.layers = 2;
  o.uniform.heads = 2;
  o.uniform.dropout = 0.1;
  o.uniform.moe.num_experts = 4;
  o.uniform.moe.expert.d_ff = 6;
  Table settings;
  settings.set("bias_rate", 0.05);
  o.uniform.moe.router = {.kind = "sigmoid", .options = settings};
  return o;
}

/// Losses, balance terms among them, of ten steps p -= 0.2 gradient.
std::vector<double> ten_losses(const ModelSpec& spec, const ModelInputs& inputs,
                               const Tensor& targets) {
  const auto model = make_model(spec, 3, {}, at::kCPU, at::kDouble);
  std::vector<double> out;
  for (uint64_t step = 0; step < 10; ++step) {
    ForwardContext context;
    context.training = true;
    context.random = {.seed = 5, .step = step};
    const ModelOutput output = model->forward(inputs, context);
    const Tensor loss =
        at::cross_entropy_loss(model->head(output.hidden_TD), targets) + output.balance_loss();
    out.push_back(loss.item<double>());
    model->zero_grad();
    loss.backward();
    const at::NoGradGuard no_grad;
    for (auto& parameter : model->parameters())
      if (parameter.grad().defined()) parameter.sub_(parameter.grad() * 0.2);
    std::vector<StepStatistics> statistics;
    for (const auto& layer : output.layers)
      statistics.push_back({layer.routing.counts_E(), static_cast<int64_t>(step)});
    model->end_step(statistics);
  }
  return out;
}

void expect_losses(const std::vector<double>& got, const std::vector<double>& expected) {
  std::ostringstream text;
  text << std::setprecision(17);
  for (const double loss : got) text << loss << ", ";
  ASSERT_EQ(got.size(), expected.size()) << text.str();
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], 1e-9) << "step " << i << " of " << text.str();
}

TEST(GoldenSteps, Decoder) {
  const Tensor ids_T = at::arange(24, at::kLong) * 7 % 11;
  const ModelInputs inputs = {
      .tokens = {.sequences = Sequences::of_lengths({9, 4, 11}), .ids_T = ids_T}};
  const auto options = with_small_blocks(DecoderOptions{.vocabulary = 11, .context_length = 12});
  expect_losses(ten_losses(options, inputs, (ids_T + 7) % 11),
                {2.599511771866208, 2.4241748243812302, 2.2962591017914198, 2.1247737013269519,
                 2.0365610378992876, 1.7473258247474832, 1.7042566627202078, 1.6644814476066481,
                 1.5556107754743367, 1.5074224459738292});
}

TEST(GoldenSteps, Vision) {
  const auto options = with_small_blocks(
      VisionOptions{.channels = 2, .height = 4, .width = 6, .patch = 2, .classes = 3});
  const ModelInputs inputs = {.pixels_NCHW = normal({6, 2, 4, 6}, 1)};
  expect_losses(ten_losses(options, inputs, at::arange(6, at::kLong) % 3),
                {1.2285825723385488, 1.1456066769985735, 0.95117151744667494, 0.85951844475918004,
                 0.85872440139197048, 0.68161949928236398, 0.62136422426478188, 0.59531954890720185,
                 0.55263438966397116, 0.51833814135589062});
}

}  // namespace
}  // namespace moe::models::golden_steps_test
