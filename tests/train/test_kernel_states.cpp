// At states that a training run passes through, loss and gradients of the processor's kernels equal
// those of one libtorch product an expert. L MoE layers, N pairs.
#include <cstdio>
#include <cstdlib>
#include <tests/support/instruction_sets.h>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/train/clip.h>

#include "tests/train/tiny_bench.h"

namespace moe::test {
namespace {

using ops::cpu::InstructionSet;

/// The fastest kernels of this processor, also where libtorch's products are the default.
InstructionSet best_kernels() {
  return ops::cpu::available_instruction_sets().back();
}

constexpr int64_t kStepsBetween = 2;
/// Of ||a - b|| / ||b||, b libtorch's, for the loss and for the gradient of each parameter.
constexpr double kBound = 1e-5;

/// MOE_KERNEL_STATES=200 for the long run.
int64_t states() {
  const char* const wanted = std::getenv("MOE_KERNEL_STATES");
  return wanted ? std::atoi(wanted) : 20;
}

struct Kind {
  const char* name;
  const char* router;
  const char* expert;
};

train::RunOptions run_of(const Kind& kind, const Path& folder) {
  train::RunOptions run = tiny_run(folder);
  run.data.sequence = 64;
  models::DecoderOptions model;
  model.context_length = 64;
  model.d_model = 48;
  model.uniform.layers = 2;
  model.uniform.heads = 2;
  model.uniform.dropout = 0.1;
  auto& moe = model.uniform.moe;
  moe.num_experts = 8;
  moe.top_k = 2;
  moe.router.kind = kind.router;
  moe.expert.kind = kind.expert;
  moe.expert.d_ff = 72;
  moe.balance = {{"switch", 0.01, {}}, {"z_loss", 0.001, {}}};
  run.model = model;
  run.train.batch = 8;
  return run;
}

/// The choices of each MoE layer.
std::vector<at::Tensor> routing_L(Bench& bench, const data::Batch& batch, int64_t step) {
  const at::NoGradGuard no_grad;
  models::ForwardContext context;
  context.training = true;
  context.random = {1, static_cast<uint64_t>(step), 0};
  std::vector<at::Tensor> out;
  for (const auto& layer : bench.model->forward(batch.inputs, context).layers)
    out.push_back(layer.routing.experts_N);
  return out;
}

bool same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const at::Tensor& x, const at::Tensor& y) { return x.equal(y); });
}

struct Answer {
  std::vector<at::Tensor> routing;
  double loss = 0;
  std::vector<at::Tensor> gradients;
};

Answer answer(Bench& bench, const data::Batch& batch, int64_t step, InstructionSet set) {
  const WithInstructionSet these(set);
  Answer out;
  out.routing = routing_L(bench, batch, step);
  for (auto& parameter : bench.parameters) parameter.tensor.mutable_grad().reset();
  out.loss = bench.run({batch}, step).loss;
  for (auto& parameter : bench.parameters) {
    out.gradients.push_back(parameter.tensor.grad().to(at::kDouble));
    parameter.tensor.mutable_grad().reset();
  }
  return out;
}

class KernelStates : public testing::TestWithParam<Kind> {
 protected:
  void note(const std::string& what, double off, int64_t step) {
    EXPECT_LE(off, kBound) << what << " after " << step << " steps";
    if (off >= worst_) {
      worst_ = off;
      where_ = concat(what, " after ", step, " steps");
    }
  }

  void compare(Bench& bench, const Answer& ours, const Answer& libtorchs, int64_t step) {
    note("loss", std::fabs(ours.loss - libtorchs.loss) / std::fabs(libtorchs.loss), step);
    for (size_t i = 0; i < bench.parameters.size(); ++i) {
      const double norm = libtorchs.gradients[i].norm().item<double>();
      const double off = (ours.gradients[i] - libtorchs.gradients[i]).norm().item<double>();
      note(bench.parameters[i].name, off == 0 ? 0 : off / norm, step);
    }
  }

  double worst_ = 0;
  std::string where_;
};

TEST_P(KernelStates, LossAndGradientsEqualThoseOfLibtorchsProducts) {
  const TemporaryFolder folder;
  Bench bench(run_of(GetParam(), folder.path()));
  const auto optimizer = train::make_optimizer(bench.parameters, {});
  int64_t other_batches = 0;
  for (int64_t state = 0; state < states() && !HasFailure(); ++state) {
    const int64_t step = state * kStepsBetween;
    // The second layer's router sees what the first layer's products rounded differently, so that a
    // token between two experts may take the other one. The state is then compared on another
    // batch.
    for (int64_t micro = 0;; ++micro) {
      ASSERT_LT(micro, 3) << "three batches with a token between two experts, step " << step;
      const data::Batch batch = bench.batch(step, micro, 3);
      const Answer ours = answer(bench, batch, step, best_kernels());
      const Answer libtorchs = answer(bench, batch, step, InstructionSet::kLibtorch);
      if (same(ours.routing, libtorchs.routing)) {
        compare(bench, ours, libtorchs, step);
        break;
      }
      ++other_batches;
    }
    const WithInstructionSet these(best_kernels());
    for (int64_t i = 0; i < kStepsBetween; ++i) {
      const auto result = bench.run(step + i, 1);
      train::clip_gradients(bench.parameters, result.gradient_norm, 1);
      optimizer->step(3e-3, step + i);
      optimizer->zero_gradients();
    }
  }
  EXPECT_LE(other_batches, 1 + states() / 20);
  std::printf("%s: %lld states, at most %.2g off (%s), %lld on another batch\n", GetParam().name,
              static_cast<long long>(states()), worst_, where_.c_str(),
              static_cast<long long>(other_batches));
}
INSTANTIATE_TEST_SUITE_P(Kinds, KernelStates,
                         testing::Values(Kind{"topk_gated", "topk", "gated"},
                                         Kind{"sigmoid_ffn", "sigmoid", "ffn"}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace moe::test
