// T tokens, E experts, G groups of S tokens.
#include <optional>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/loops.h>
#include <moe/ops/cpu/scores.h>
#include <moe/ops/grouped_segments.h>
#include <moe/ops/scores.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kPlaceOfScores = "ops/scores";

cpu::ScoreRows score_rows(const Tensor& scores_TE, const Tensor& valid_T, bool normalise,
                          int64_t groups) {
  return {scores_TE.size(0),
          scores_TE.size(1),
          groups,
          scores_TE.const_data_ptr<float>(),
          valid_T.defined() ? valid_T.const_data_ptr<bool>() : nullptr,
          normalise};
}

struct ProbabilitySums : torch::autograd::Function<ProbabilitySums> {
  static Tensor forward(AutogradContext* ctx, const Tensor& scores_TE,
                        const std::optional<Tensor>& valid_T, bool normalise, int64_t groups) {
    const Tensor sums_GE =
        at::empty({groups, scores_TE.size(1)}, scores_TE.options().dtype(at::kDouble));
    cpu::probability_sums(cpu::kernels().choice,
                          score_rows(scores_TE, valid_T.value_or(Tensor()), normalise, groups),
                          sums_GE.mutable_data_ptr<double>());
    ctx->save_for_backward({scores_TE, valid_T.value_or(Tensor())});
    ctx->saved_data["normalise"] = normalise;
    ctx->saved_data["groups"] = groups;
    return sums_GE;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    cpu::refuse_second_derivatives(kPlaceOfScores);
    const auto saved = ctx->get_saved_variables();
    const Tensor dscores_TE = at::empty_like(saved[0]), dsums_GE = gradients[0].contiguous();
    cpu::probability_sums_backward(
        cpu::kernels().choice,
        score_rows(saved[0], saved[1], ctx->saved_data["normalise"].toBool(),
                   ctx->saved_data["groups"].toInt()),
        dsums_GE.const_data_ptr<double>(), dscores_TE.mutable_data_ptr<float>());
    return {dscores_TE, Tensor(), Tensor(), Tensor()};
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

}  // namespace

Tensor probabilities(const Tensor& scores_TE, const Tensor& valid_T, bool normalise) {
  Tensor p_TE = scores_TE;
  if (normalise) p_TE = p_TE / p_TE.sum(1, /*keepdim=*/true).clamp_min(1e-20);
  return valid_T.defined() ? at::where(valid_T.unsqueeze(1), p_TE, at::zeros_like(p_TE)) : p_TE;
}

Tensor probability_sums(const Tensor& scores_TE, const Tensor& valid_T, bool normalise,
                        int64_t groups) {
  check(scores_TE.dim() == 2 && groups >= 0, kPlaceOfScores,
        "expected scores (T, E) and a number of groups, got ", scores_TE.sizes(), " and ", groups,
        ". Flatten batch and sequence first.");
  const int64_t T = scores_TE.size(0), S = groups > 0 ? T / groups : 0;
  check(groups * S == T, kPlaceOfScores, "expected tokens in ", groups,
        " groups of equal size, got ", T, ". Pad the last group and mark the padding in valid_T.");
  if (cpu::loops_take(scores_TE))
    return ProbabilitySums::apply(scores_TE.contiguous(),
                                  given(valid_T.defined() ? valid_T.contiguous() : valid_T),
                                  normalise, groups);
  return probabilities(scores_TE, valid_T, normalise)
      .reshape({groups, S, scores_TE.size(1)})
      .sum(1, /*keepdim=*/false, at::kDouble);
}

Tensor log_sum_exp(const Tensor& logits_TE) {
  check(logits_TE.dim() == 2, kPlaceOfScores, "expected logits (T, E), got ", logits_TE.sizes(),
        ". Flatten batch and sequence first.");
  return cpu::loops_take(logits_TE) ? LogSumExp::apply(logits_TE.contiguous())
                                    : at::logsumexp(logits_TE, 1);
}

}  // namespace moe::ops
