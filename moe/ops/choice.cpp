// T tokens, D width, E experts, K choices, G groups of S experts, J kept groups.
#include <algorithm>
#include <limits>
#include <optional>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/ops/choice.h>
#include <moe/ops/cpu/choice.h>
#include <moe/ops/cpu/expert_mlp.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/loops.h>
#include <moe/ops/grouped_segments.h>
#include <moe/ops/order.h>

namespace moe::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kPlaceOfChoice = "ops/choice";
/// Experts for each choice from which on K rows a token cost less than a product with all E.
constexpr int64_t kFewChosen = 4;

// ---- the formula, for every dtype and device ---------------------------------------------------

/// values_TE with -inf at the experts outside of each token's best groups by ranked_TE.
Tensor within_groups(const Tensor& values_TE, const Tensor& ranked_TE, const ChoiceRule& rule) {
  const int64_t T = values_TE.size(0), E = values_TE.size(1), G = rule.groups, S = E / G;
  if (G == 1 || rule.kept_groups == G) return values_TE;
  const int64_t best = rule.best_two ? std::min<int64_t>(2, S) : 1;
  const Tensor ranked_GS = ranked_TE.detach().reshape({T * G, S});
  const Tensor score_TG = ops::topk(ranked_GS, best).first.sum(1).reshape({T, G});
  const Tensor kept_TJ = ops::topk(score_TG, rule.kept_groups).second;
  Tensor outside_TG = at::ones({T, G}, kept_TJ.options().dtype(at::kBool));
  outside_TG.scatter_(1, kept_TJ, false);
  const Tensor outside_TE = outside_TG.unsqueeze(2).expand({T, G, S}).reshape({T, E});
  return values_TE.masked_fill(outside_TE, -std::numeric_limits<double>::infinity());
}

Choices by_formula(const Tensor& logits_TE, const ChoiceRule& rule, const Tensor& bias_E) {
  const bool softmax = rule.score == Score::kSoftmax;
  const Tensor l_TE = softmax && rule.temperature != 1 ? logits_TE / rule.temperature : logits_TE;
  const Tensor scores_TE = softmax ? at::softmax(l_TE, 1) : at::sigmoid(l_TE);
  const Tensor value_TE = (bias_E.defined() ? scores_TE + bias_E : l_TE).detach();
  const Tensor ranked_TE = rule.best_two && !bias_E.defined() ? scores_TE : value_TE;
  const Tensor experts_TK = ops::topk(within_groups(value_TE, ranked_TE, rule), rule.k).second;
  if (cpu::is_softmax_of_chosen(rule)) {
    const Tensor weights_TK = at::softmax(at::gather(l_TE, 1, experts_TK), 1);
    return {logits_TE, scores_TE, experts_TK, weights_TK * rule.scale};
  }
  Tensor weights_TK = at::gather(scores_TE, 1, experts_TK);
  if (rule.sum_to_one) {
    Tensor sum_T1 = weights_TK.sum(1, /*keepdim=*/true) + rule.epsilon;
    if (rule.least_sum > 0) sum_T1 = sum_T1.clamp_min(rule.least_sum);
    weights_TK = weights_TK / sum_T1;
  }
  return {logits_TE, scores_TE, experts_TK, weights_TK * rule.scale};
}

// ---- float32 on the CPU ------------------------------------------------------------------------

const float* read(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

float* write(const Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr;
}

struct Chosen {
  Tensor scores_TE, experts_TK, shares_TK, weights_TK;
};

Chosen choose_rows(const Tensor& logits_TE, const ChoiceRule& rule, const Tensor& bias_E) {
  const int64_t T = logits_TE.size(0), E = logits_TE.size(1);
  Chosen out;
  out.scores_TE = at::empty_like(logits_TE);
  out.experts_TK = at::empty({T, rule.k}, logits_TE.options().dtype(at::kLong));
  out.weights_TK = at::empty({T, rule.k}, logits_TE.options());
  out.shares_TK = rule.scale == 1 ? out.weights_TK : at::empty_like(out.weights_TK);
  cpu::choose_rows(
      cpu::kernels().choice, rule,
      {T, E, read(logits_TE), read(bias_E), write(out.scores_TE),
       out.experts_TK.mutable_data_ptr<int64_t>(), write(out.shares_TK), write(out.weights_TK)});
  return out;
}

/// A gradient whose rows are contiguous, though they may all be one.
cpu::GradientRows rows_of(Tensor& gradient_TE) {
  if (!gradient_TE.defined()) return {};
  if (gradient_TE.stride(1) != 1 && gradient_TE.size(1) > 1) gradient_TE = gradient_TE.contiguous();
  return {read(gradient_TE), gradient_TE.stride(0)};
}

/// The gradient that reached a choice, and what is known of it.
struct ChoiceGradient {
  ChoiceRule rule;
  Tensor scores_TE, experts_TK, shares_TK;
  Tensor dscores_TE, dweights_TK, more_TE;

  int64_t T() const { return scores_TE.size(0); }
  int64_t E() const { return scores_TE.size(1); }
  /// Whether only the chosen logits have any.
  bool is_sparse() const {
    return !dscores_TE.defined() && !more_TE.defined() && cpu::is_local(rule);
  }

  Tensor of_chosen() {
    const Tensor dchosen_TK = at::empty_like(shares_TK);
    cpu::chosen_gradient(rule, rows(), write(dchosen_TK));
    return dchosen_TK;
  }

  Tensor of_logits() {
    const Tensor dlogits_TE = at::empty_like(scores_TE);
    cpu::logits_gradient(cpu::kernels().choice, rule, rows(), rows_of(dscores_TE), rows_of(more_TE),
                         write(dlogits_TE));
    return dlogits_TE;
  }

 private:
  cpu::ChosenRows rows() {
    if (dweights_TK.defined()) dweights_TK = dweights_TK.contiguous();
    return {T(),
            E(),
            read(scores_TE),
            experts_TK.const_data_ptr<int64_t>(),
            read(shares_TK),
            read(dweights_TK)};
  }
};

bool all_undefined(const variable_list& gradients) {
  return std::none_of(gradients.begin(), gradients.end(),
                      [](const Tensor& gradient) { return gradient.defined(); });
}

/// What the backward pass needs to know of a rule.
void keep(AutogradContext* ctx, const ChoiceRule& rule) {
  ctx->saved_data["sigmoid"] = rule.score == Score::kSigmoid;
  ctx->saved_data["k"] = rule.k;
  ctx->saved_data["sum_to_one"] = rule.sum_to_one;
  ctx->saved_data["epsilon"] = rule.epsilon;
  ctx->saved_data["least_sum"] = rule.least_sum;
  ctx->saved_data["scale"] = rule.scale;
  ctx->saved_data["temperature"] = rule.temperature;
}

ChoiceRule kept_rule(AutogradContext* ctx) {
  auto& data = ctx->saved_data;
  return {.score = data["sigmoid"].toBool() ? Score::kSigmoid : Score::kSoftmax,
          .k = data["k"].toInt(),
          .sum_to_one = data["sum_to_one"].toBool(),
          .epsilon = data["epsilon"].toDouble(),
          .least_sum = data["least_sum"].toDouble(),
          .scale = data["scale"].toDouble(),
          .temperature = data["temperature"].toDouble()};
}

/// Outputs: scores, experts, weights.
struct Choose : torch::autograd::Function<Choose> {
  static variable_list forward(AutogradContext* ctx, const Tensor& logits_TE,
                               const std::optional<Tensor>& bias, const ChoiceRule& rule) {
    const Chosen chosen = choose_rows(logits_TE, rule, bias.value_or(Tensor()));
    ctx->set_materialize_grads(false);
    ctx->mark_non_differentiable({chosen.experts_TK});
    ctx->save_for_backward({chosen.scores_TE, chosen.experts_TK, chosen.shares_TK});
    keep(ctx, rule);
    return {chosen.scores_TE, chosen.experts_TK, chosen.weights_TK};
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    cpu::refuse_second_derivatives(kPlaceOfChoice);
    if (all_undefined(gradients)) return {Tensor(), Tensor(), Tensor()};
    const auto saved = ctx->get_saved_variables();
    ChoiceGradient gradient = {kept_rule(ctx), saved[0],     saved[1], saved[2],
                               gradients[0],   gradients[2], {}};
    return {gradient.of_logits(), Tensor(), Tensor()};
  }
};

Tensor logits_of(const Tensor& x_TD, const Tensor& w_ED, const Tensor& b_E) {
  const int64_t T = x_TD.size(0), E = w_ED.size(0);
  const Tensor logits_TE = at::empty({T, E}, x_TD.options());
  cpu::router_logits(cpu::kernels(), T, x_TD.size(1), E, read(x_TD), read(w_ED), read(b_E),
                     write(logits_TE));
  return logits_TE;
}

/// Outputs: logits, scores, experts, weights.
struct ChooseLinear : torch::autograd::Function<ChooseLinear> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x_TD, const Tensor& w_ED,
                               const std::optional<Tensor>& b_E, const std::optional<Tensor>& bias,
                               const ChoiceRule& rule) {
    const Tensor logits_TE = logits_of(x_TD, w_ED, b_E.value_or(Tensor()));
    const Chosen chosen = choose_rows(logits_TE, rule, bias.value_or(Tensor()));
    ctx->set_materialize_grads(false);
    ctx->mark_non_differentiable({chosen.experts_TK});
    ctx->save_for_backward({x_TD, w_ED, chosen.scores_TE, chosen.experts_TK, chosen.shares_TK});
    ctx->saved_data["bias"] = b_E.has_value();
    keep(ctx, rule);
    return {logits_TE, chosen.scores_TE, chosen.experts_TK, chosen.weights_TK};
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    cpu::refuse_second_derivatives(kPlaceOfChoice);
    if (all_undefined(gradients)) return {Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
    const auto saved = ctx->get_saved_variables();
    const Tensor &x_TD = saved[0], &w_ED = saved[1];
    ChoiceGradient gradient = {kept_rule(ctx), saved[2],     saved[3],    saved[4],
                               gradients[1],   gradients[3], gradients[0]};
    const int64_t T = gradient.T(), D = x_TD.size(1), E = gradient.E(), K = gradient.rule.k;
    const Tensor dx_TD = at::empty_like(x_TD), dw_ED = at::empty_like(w_ED);
    const Tensor db_E =
        ctx->saved_data["bias"].toBool() ? at::empty({E}, w_ED.options()) : Tensor();
    if (gradient.is_sparse() && E >= kFewChosen * K) {
      cpu::chosen_rows_backward(cpu::kernels().choice, T, D, E, K, read(x_TD), read(w_ED),
                                gradient.experts_TK.const_data_ptr<int64_t>(),
                                read(gradient.of_chosen()), write(dx_TD), write(dw_ED),
                                write(db_E));
    } else {
      const int64_t rows[] = {0, T};
      const Matrix w = cpu::RowsOf<float>{read(w_ED), D}.matrix();
      cpu::linear_backward<float>(cpu::kernels(), {1, rows}, {&w, nullptr, D, E}, {read(x_TD), D},
                                  read(gradient.of_logits()),
                                  {write(dx_TD), {write(dw_ED)}, write(db_E)});
    }
    return {dx_TD, dw_ED, db_E, Tensor(), Tensor()};
  }
};

/// The selection bias as the loops read it.
Tensor selection_bias(const Tensor& bias_E, const Tensor& like) {
  return bias_E.defined() ? bias_E.detach().to(like.options()).contiguous() : bias_E;
}

void check_rule(const ChoiceRule& rule, int64_t experts, const Tensor& bias_E) {
  check(rule.k >= 1 && rule.k <= experts, kPlaceOfChoice, "expected k in [1, E=", experts,
        "], got ", rule.k, ". Lower k.");
  check(rule.groups == 1 || (rule.groups > 0 && experts % rule.groups == 0 &&
                             rule.kept_groups > 0 && rule.kept_groups <= rule.groups),
        kPlaceOfChoice, "expected groups that divide E=", experts,
        " and kept_groups among them, got ", rule.groups, " and ", rule.kept_groups,
        ". Correct them.");
  check(rule.epsilon >= 0 && rule.least_sum >= 0, kPlaceOfChoice,
        "expected epsilon and least_sum of at least 0, got ", rule.epsilon, " and ", rule.least_sum,
        ". Correct them.");
  check(!bias_E.defined() || (bias_E.dim() == 1 && bias_E.size(0) == experts), kPlaceOfChoice,
        "expected a selection bias of shape (E=", experts, "), got ",
        bias_E.defined() ? bias_E.sizes() : at::IntArrayRef(), ". Give one number an expert.");
}

}  // namespace

Choices choose(const Tensor& logits_TE, const ChoiceRule& rule, const Tensor& bias_E) {
  check(logits_TE.dim() == 2, kPlaceOfChoice, "expected logits of shape (T, E), got ",
        logits_TE.sizes(), ". Flatten batch and sequence first.");
  check_rule(rule, logits_TE.size(1), bias_E);
  const Tensor bias = selection_bias(bias_E, logits_TE);
  if (!cpu::loops_take(logits_TE)) return by_formula(logits_TE, rule, bias);
  const Tensor rows_TE = logits_TE.contiguous();
  if (!cpu::wants_gradients({logits_TE})) {
    const Chosen chosen = choose_rows(rows_TE, rule, bias);
    return {logits_TE, chosen.scores_TE, chosen.experts_TK, chosen.weights_TK};
  }
  const auto out = Choose::apply(rows_TE, given(bias), rule);
  return {logits_TE, out[0], out[1], out[2]};
}

Choices choose_linear(const Tensor& x_TD, const Tensor& w_ED, const Tensor& b_E,
                      const ChoiceRule& rule, const Tensor& bias_E) {
  check(x_TD.dim() == 2 && w_ED.dim() == 2 && x_TD.size(1) == w_ED.size(1) &&
            (!b_E.defined() || (b_E.dim() == 1 && b_E.size(0) == w_ED.size(0))),
        kPlaceOfChoice, "expected x (T, D), w (E, D) and b (E), got ", x_TD.sizes(), ", ",
        w_ED.sizes(), " and ", b_E.defined() ? b_E.sizes() : at::IntArrayRef(),
        ". Flatten batch and sequence, and give the matrix the layer's width.");
  check_rule(rule, w_ED.size(0), bias_E);
  const Tensor bias = selection_bias(bias_E, x_TD);
  const bool kernels = cpu::loops_take(x_TD) && w_ED.scalar_type() == at::kFloat &&
                       (!b_E.defined() || b_E.scalar_type() == at::kFloat);
  if (!kernels) return by_formula(at::linear(x_TD, w_ED, b_E), rule, bias);
  const Tensor rows_TD = x_TD.contiguous(), matrix_ED = w_ED.contiguous(),
               shift_E = b_E.defined() ? b_E.contiguous() : b_E;
  if (!cpu::wants_gradients({x_TD, w_ED, b_E})) {
    const Tensor logits_TE = logits_of(rows_TD, matrix_ED, shift_E);
    const Chosen chosen = choose_rows(logits_TE, rule, bias);
    return {logits_TE, chosen.scores_TE, chosen.experts_TK, chosen.weights_TK};
  }
  const auto out = ChooseLinear::apply(rows_TD, matrix_ED, given(shift_E), given(bias), rule);
  return {out[0], out[1], out[2], out[3]};
}

}  // namespace moe::ops
