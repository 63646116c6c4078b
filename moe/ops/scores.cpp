// T tokens, E experts, G groups.
#include <algorithm>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/loops.h>
#include <moe/ops/cpu/scores.h>
#include <moe/ops/scores.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kPlaceOfScores = "ops/scores";

cpu::ScoreRows score_rows(const Tensor& scores_TE, const Tensor& groups_G1, bool normalise) {
  return {scores_TE.size(0),
          scores_TE.size(1),
          groups_G1.size(0) - 1,
          scores_TE.const_data_ptr<float>(),
          groups_G1.const_data_ptr<int64_t>(),
          normalise};
}

struct ProbabilitySums : torch::autograd::Function<ProbabilitySums> {
  static Tensor forward(AutogradContext* ctx, const Tensor& scores_TE, const Tensor& groups_G1,
                        bool normalise) {
    const Tensor sums_GE = at::empty({groups_G1.size(0) - 1, scores_TE.size(1)},
                                     scores_TE.options().dtype(at::kDouble));
    cpu::probability_sums(cpu::kernels().choice, score_rows(scores_TE, groups_G1, normalise),
                          sums_GE.mutable_data_ptr<double>());
    ctx->save_for_backward({scores_TE, groups_G1});
    ctx->saved_data["normalise"] = normalise;
    return sums_GE;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    cpu::refuse_second_derivatives(kPlaceOfScores);
    const auto saved = ctx->get_saved_variables();
    const Tensor dscores_TE = at::empty_like(saved[0]), dsums_GE = gradients[0].contiguous();
    cpu::probability_sums_backward(
        cpu::kernels().choice,
        score_rows(saved[0], saved[1], ctx->saved_data["normalise"].toBool()),
        dsums_GE.const_data_ptr<double>(), dscores_TE.mutable_data_ptr<float>());
    return {dscores_TE, Tensor(), Tensor()};
  }
};

struct LogSumExp : torch::autograd::Function<LogSumExp> {
  static Tensor forward(AutogradContext* ctx, const Tensor& logits_TE) {
    const Tensor lse_T = at::empty({logits_TE.size(0)}, logits_TE.options());
    cpu::log_sum_exp(cpu::kernels().choice, logits_TE.size(0), logits_TE.size(1),
                     logits_TE.const_data_ptr<float>(), lse_T.mutable_data_ptr<float>());
    ctx->save_for_backward({logits_TE, lse_T});
    return lse_T;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    cpu::refuse_second_derivatives(kPlaceOfScores);
    const auto saved = ctx->get_saved_variables();
    const Tensor &logits_TE = saved[0], dlogits_TE = at::empty_like(logits_TE);
    const Tensor dlse_T = gradients[0].contiguous();
    cpu::log_sum_exp_backward(cpu::kernels().choice, logits_TE.size(0), logits_TE.size(1),
                              logits_TE.const_data_ptr<float>(), saved[1].const_data_ptr<float>(),
                              dlse_T.const_data_ptr<float>(), dlogits_TE.mutable_data_ptr<float>());
    return {dlogits_TE};
  }
};

/// (G+1,) on the CPU, checked.
Tensor bounds_of(const Tensor& groups_G1, int64_t T) {
  if (!groups_G1.defined()) return at::arange(2, at::kLong).mul_(T);
  check(groups_G1.dim() == 1 && groups_G1.size(0) >= 1 && groups_G1.scalar_type() == at::kLong,
        kPlaceOfScores, "expected bounds of groups (G+1) in int64, got ", groups_G1.scalar_type(),
        ' ', groups_G1.sizes(), ". Pass where each begins, and the end of the last.");
  const Tensor bounds_G1 = groups_G1.to(at::kCPU).contiguous();
  const int64_t* const bounds = bounds_G1.const_data_ptr<int64_t>();
  const int64_t G = bounds_G1.size(0) - 1;
  check(bounds[0] == 0 && bounds[G] == T && std::is_sorted(bounds, bounds + G + 1), kPlaceOfScores,
        "expected bounds of groups that rise from 0 to T=", T,
        ", got others. Let the groups follow "
        "each other.");
  return bounds_G1;
}

}  // namespace

Tensor probabilities(const Tensor& scores_TE, bool normalise) {
  if (!normalise) return scores_TE;
  return scores_TE / scores_TE.sum(1, /*keepdim=*/true).clamp_min(1e-20);
}

Tensor probability_sums(const Tensor& scores_TE, bool normalise, const Tensor& groups_G1) {
  check(scores_TE.dim() == 2, kPlaceOfScores, "expected scores (T, E), got ", scores_TE.sizes(),
        ". Flatten batch and sequence first.");
  const Tensor bounds_G1 = bounds_of(groups_G1, scores_TE.size(0));
  if (cpu::loops_take(scores_TE))
    return ProbabilitySums::apply(scores_TE.contiguous(), bounds_G1, normalise);
  const Tensor p_TE = probabilities(scores_TE, normalise);
  const int64_t* const bounds = bounds_G1.const_data_ptr<int64_t>();
  std::vector<Tensor> sums = {at::zeros({0, scores_TE.size(1)}, p_TE.options().dtype(at::kDouble))};
  for (int64_t g = 0; g + 1 < bounds_G1.size(0); ++g)
    sums.push_back(p_TE.slice(0, bounds[g], bounds[g + 1]).sum({0}, /*keepdim=*/true, at::kDouble));
  return at::cat(sums);
}

Tensor log_sum_exp(const Tensor& logits_TE) {
  check(logits_TE.dim() == 2, kPlaceOfScores, "expected logits (T, E), got ", logits_TE.sizes(),
        ". Flatten batch and sequence first.");
  return cpu::loops_take(logits_TE) ? LogSumExp::apply(logits_TE.contiguous())
                                    : at::logsumexp(logits_TE, 1);
}

}  // namespace moe::ops
