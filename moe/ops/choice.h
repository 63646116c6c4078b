#pragma once
// T tokens, D width, E experts, K choices, G groups of S experts.

#include <ATen/core/Tensor.h>

namespace moe::ops {

using at::Tensor;

enum class Score { kSoftmax, kSigmoid };

/// How logits become K choices and their weights.
struct ChoiceRule {
  Score score = Score::kSoftmax;
  int64_t k = 1;
  /// Divide the weights by their sum: s / max(sum of chosen s + epsilon, least_sum); without either
  /// of them a softmax over the chosen logits, where scores are a softmax. Otherwise the weights
  /// are the scores.
  bool sum_to_one = true;
  double epsilon = 0, least_sum = 0;
  /// Multiplies the weights.
  double scale = 1;
  /// Divides the logits before a softmax; a sigmoid takes them as they are.
  double temperature = 1;
  /// With G > 1 only experts of the best `kept_groups` groups of E / G neighbours are candidates. A
  /// group is as good as its best candidate, or as the sum of its best two; ties go to the lowest.
  int64_t groups = 1, kept_groups = 0;
  bool best_two = false;
};

/// What came of it.
struct Choices {
  /// (T, E) before temperature and bias.
  Tensor logits_TE;
  /// (T, E) softmax(l / temperature) or sigmoid(l) over all experts.
  Tensor scores_TE;
  /// (T, K) int64, best first, ties to the lowest id, NaN behind everything.
  Tensor experts_TK;
  Tensor weights_TK;
};

/// The K largest logits, groups scored by them (or, by two, by the scores); with selection_bias_E
/// the K largest s + selection_bias_E, groups scored by that. The bias takes no part in weights or
/// gradients.
///
/// logits_TE float32 or float64; logits, scores and weights are differentiable. float32 on the CPU
/// runs in a few passes over each row (ops/cpu/choice.h), with one for the gradient; a second
/// derivative needs MOE_CPU=libtorch or float64 there. No bit depends on threads or other rows.
/// Throws moe::Error unless 1 <= K <= E.
Choices choose(const Tensor& logits_TE, const ChoiceRule& rule,
               const Tensor& selection_bias_E = {});

/// The same of l = x_TD w_ED^T + b_E (undefined: none), all of one type. Where weights alone lead
/// back and depend on the K chosen logits, the gradient is that of K rows a token and never an (T,
/// E) matrix.
Choices choose_linear(const Tensor& x_TD, const Tensor& w_ED, const Tensor& b_E,
                      const ChoiceRule& rule, const Tensor& selection_bias_E = {});

}  // namespace moe::ops
