// T tokens, D width, E experts, K choices, G groups of S experts.
#include <algorithm>
#include <limits>
#include <vector>

#include <ATen/Parallel.h>

#include <moe/ops/cpu/choice.h>
#include <moe/ops/cpu/expert_mlp.h>
#include <moe/ops/cpu/product.h>
#include <moe/ops/cpu/workspace.h>

namespace moe::ops::cpu {

namespace {

/// What the weights are divided by, for the sum of the chosen scores.
float divisor(const ChoiceRule& rule, float total) {
  return std::max(total, static_cast<float>(rule.least_sum));
}

/// Sum of the chosen scores, from epsilon on.
float sum_of_chosen(const ChoiceRule& rule, const float* scores, const int64_t* experts) {
  auto total = static_cast<float>(rule.epsilon);
  for (int64_t j = 0; j < rule.k; ++j) total += scores[experts[j]];
  return total;
}

/// Chooses row by row; what it holds serves all rows of a thread.
class Chooser {
 public:
  Chooser(const ChoiceKernels& kernels, const ChoiceRule& rule, const ChoiceRows& rows)
      : kernels_(kernels),
        rule_(rule),
        rows_(rows),
        limited_(rule.groups > 1 && rule.kept_groups < rule.groups),
        logits_(is_tempered(rule) ? size(rows.E) : 0),
        ranked_(size(rows.E)),
        groups_(size(rule.groups)),
        kept_(size(rule.groups)) {}

  void operator()(int64_t t) {
    const int64_t E = rows_.E, K = rule_.k;
    const float* const logits = tempered(rows_.logits_TE + t * E);
    float* const scores = rows_.scores_TE + t * E;
    int64_t* const experts = rows_.experts_TK + t * K;
    if (rule_.score == Score::kSoftmax)
      kernels_.softmax(E, logits, scores);
    else
      kernels_.sigmoid(E, logits, scores);
    const float* const values = rows_.selection_bias_E ? with_bias(scores) : logits;
    const bool by_scores = rule_.best_two && !rows_.selection_bias_E;
    kernels_.largest(E, within_groups(values, by_scores ? scores : values), K, experts);
    float* const shares = rows_.shares_TK + t * K;
    weigh(logits, scores, experts, shares);
    const auto scale = static_cast<float>(rule_.scale);
    for (int64_t j = 0; j < K; ++j) rows_.weights_TK[t * K + j] = shares[j] * scale;
  }

 private:
  static size_t size(int64_t n) { return static_cast<size_t>(n); }

  /// A temperature is of the softmax.
  static bool is_tempered(const ChoiceRule& rule) {
    return rule.score == Score::kSoftmax && rule.temperature != 1;
  }

  const float* tempered(const float* logits) {
    if (!is_tempered(rule_)) return logits;
    const auto temperature = static_cast<float>(rule_.temperature);
    for (size_t e = 0; e < logits_.size(); ++e) logits_[e] = logits[e] / temperature;
    return logits_.data();
  }

  const float* with_bias(const float* scores) {
    for (int64_t e = 0; e < rows_.E; ++e) ranked_[size(e)] = scores[e] + rows_.selection_bias_E[e];
    return ranked_.data();
  }

  /// `values` with -inf outside of the best groups by `ranking`; either may be what it returns.
  const float* within_groups(const float* values, const float* ranking) {
    if (!limited_) return values;
    const int64_t G = rule_.groups, S = rows_.E / G, J = rule_.kept_groups;
    const int64_t best = rule_.best_two ? std::min<int64_t>(2, S) : 1;
    for (int64_t g = 0; g < G; ++g) {
      int64_t ids[2];
      kernels_.largest(S, ranking + g * S, best, ids);
      groups_[size(g)] = ranking[g * S + ids[0]] + (best > 1 ? ranking[g * S + ids[1]] : 0);
    }
    kernels_.largest(G, groups_.data(), J, kept_.data());
    std::fill(groups_.begin(), groups_.end(), 0.0f);
    for (int64_t j = 0; j < J; ++j) groups_[size(kept_[size(j)])] = 1;
    for (int64_t g = 0; g < G; ++g) {
      float* const out = ranked_.data() + g * S;
      if (groups_[size(g)] == 0)
        std::fill(out, out + S, -std::numeric_limits<float>::infinity());
      else if (values + g * S != out)
        std::copy(values + g * S, values + (g + 1) * S, out);
    }
    return ranked_.data();
  }

  void weigh(const float* logits, const float* scores, const int64_t* experts,
             float* shares) const {
    const int64_t K = rule_.k;
    // Softmax over the chosen logits where scores may have underflowed (limited groups, a selection
    // bias) or hold NaN.
    const float best = scores[experts[0]];
    const bool again =
        is_softmax_of_chosen(rule_) && (limited_ || rows_.selection_bias_E || best != best);
    for (int64_t j = 0; j < K; ++j) shares[j] = (again ? logits : scores)[experts[j]];
    if (again) return kernels_.softmax(K, shares, shares);
    if (!rule_.sum_to_one) return;
    const float total = divisor(rule_, sum_of_chosen(rule_, scores, experts));
    for (int64_t j = 0; j < K; ++j) shares[j] /= total;
  }

  const ChoiceKernels& kernels_;
  const ChoiceRule& rule_;
  const ChoiceRows& rows_;
  const bool limited_;
  std::vector<float> logits_, ranked_, groups_;
  std::vector<int64_t> kept_;
};

/// What token t's weights say of the gradient.
struct ChosenGradient {
  const float *share, *dweight;
  /// Sum over the chosen of share times its gradient.
  float mean = 0;
  float divisor = 1;
  /// Whether the divisor follows the scores: not where least_sum holds it.
  bool moves = true;

  ChosenGradient(const ChoiceRule& rule, const ChosenRows& rows, int64_t t)
      : share(rows.shares_TK + t * rule.k), dweight(rows.dweights_TK + t * rule.k) {
    if (!rule.sum_to_one) return;
    const auto scale = static_cast<float>(rule.scale);
    for (int64_t j = 0; j < rule.k; ++j) mean += share[j] * (dweight[j] * scale);
    if (is_softmax_of_chosen(rule)) return;
    const float total =
        sum_of_chosen(rule, rows.scores_TE + t * rows.E, rows.experts_TK + t * rule.k);
    divisor = cpu::divisor(rule, total);
    moves = total >= static_cast<float>(rule.least_sum);
  }

  /// dL/ds of the j-th chosen score.
  float of_score(const ChoiceRule& rule, int64_t j) const {
    const float dshare = dweight[j] * static_cast<float>(rule.scale);
    return rule.sum_to_one ? (moves ? dshare - mean : dshare) / divisor : dshare;
  }
};

/// dL/dl of token t's chosen logits.
void chosen_gradient_of(const ChoiceRule& rule, const ChosenRows& rows, int64_t t, float* out) {
  const ChosenGradient gradient(rule, rows, t);
  const int64_t K = rule.k;
  const float* const scores = rows.scores_TE + t * rows.E;
  const int64_t* const experts = rows.experts_TK + t * K;
  if (rule.score == Score::kSoftmax) {
    const auto factor = static_cast<float>(1 / rule.temperature),
               scale = static_cast<float>(rule.scale);
    for (int64_t j = 0; j < K; ++j)
      out[j] = gradient.share[j] * (gradient.dweight[j] * scale - gradient.mean) * factor;
    return;
  }
  for (int64_t j = 0; j < K; ++j) {
    const float s = scores[experts[j]];
    out[j] = gradient.of_score(rule, j) * (s * (1 - s));
  }
}

/// All rows belong to one.
Experts one_group(const int64_t (&offsets)[2]) {
  return {1, offsets};
}

}  // namespace

void choose_rows(const ChoiceKernels& kernels, const ChoiceRule& rule, const ChoiceRows& rows) {
  at::parallel_for(0, rows.T, rows_a_thread(rows.E), [&](int64_t begin, int64_t end) {
    Chooser choose(kernels, rule, rows);
    for (int64_t t = begin; t < end; ++t) choose(t);
  });
}

bool is_softmax_of_chosen(const ChoiceRule& rule) {
  return rule.score == Score::kSoftmax && rule.sum_to_one && rule.epsilon == 0 &&
         rule.least_sum == 0;
}

bool is_local(const ChoiceRule& rule) {
  return rule.score == Score::kSigmoid || is_softmax_of_chosen(rule);
}

void chosen_gradient(const ChoiceRule& rule, const ChosenRows& rows, float* dchosen_TK) {
  at::parallel_for(0, rows.T, rows_a_thread(rule.k), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      chosen_gradient_of(rule, rows, t, dchosen_TK + t * rule.k);
  });
}

void logits_gradient(const ChoiceKernels& kernels, const ChoiceRule& rule, const ChosenRows& rows,
                     GradientRows dscores, GradientRows more, float* dlogits_TE) {
  const int64_t E = rows.E, K = rule.k;
  const auto factor = static_cast<float>(1 / rule.temperature);
  at::parallel_for(0, rows.T, rows_a_thread(E), [&](int64_t begin, int64_t end) {
    std::vector<float> dchosen(static_cast<size_t>(K), 0.0f);
    for (int64_t t = begin; t < end; ++t) {
      const float *scores = rows.scores_TE + t * E, *ds = dscores.row(t);
      const int64_t* const experts = rows.experts_TK + t * K;
      float* const dl = dlogits_TE + t * E;
      float mean = 0;
      if (rows.dweights_TK && is_local(rule)) {
        chosen_gradient_of(rule, rows, t, dchosen.data());
      } else if (rows.dweights_TK) {
        // Weights made of scores: their gradients belong to those of the scores.
        const ChosenGradient gradient(rule, rows, t);
        for (size_t j = 0; j < dchosen.size(); ++j) {
          const float score = scores[experts[j]];
          const float part = rule.sum_to_one
                                 ? score * gradient.of_score(rule, static_cast<int64_t>(j))
                                 : score * gradient.dweight[j] * static_cast<float>(rule.scale);
          mean += part;
          dchosen[j] = part * factor;
        }
      }
      if (rule.score == Score::kSigmoid) {
        kernels.sigmoid_backward(E, scores, ds, more.row(t), dl);
      } else {
        if (ds) mean += kernels.dot(E, scores, ds);
        kernels.softmax_backward(E, scores, ds, mean, factor, more.row(t), dl);
      }
      for (size_t j = 0; j < dchosen.size(); ++j) dl[experts[j]] += dchosen[j];
    }
  });
}

void router_logits(const Kernels& kernels, int64_t T, int64_t D, int64_t E, const float* x_TD,
                   const float* w_ED, const float* b_E, float* logits_TE) {
  const Matrix x = RowsOf<float>{x_TD, D}.matrix(), w = RowsOf<float>{w_ED, D}.matrix();
  if (E >= kernels.floats.columns || E > T) {
    const int64_t all[] = {0, T};
    return linear_forward<float>(kernels, one_group(all), {&w, b_E, D, E}, {x_TD, D}, logits_TE);
  }
  // Few experts would leave most columns of a tile idle: their logits as rows. The sums are the
  // same to the bit, over the width in ascending order.
  const Workspace memory(sizeof(float) * static_cast<size_t>(E * T));
  float* const logits_ET = memory.as<float>();
  const int64_t all[] = {0, E};
  linear_forward<float>(kernels, one_group(all), {&x, nullptr, D, T}, {w_ED, D}, logits_ET);
  at::parallel_for(0, T, rows_a_thread(E), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t e = 0; e < E; ++e)
        logits_TE[t * E + e] = logits_ET[e * T + t] + (b_E ? b_E[e] : 0);
  });
}

void chosen_rows_backward(const ChoiceKernels& kernels, int64_t T, int64_t D, int64_t E, int64_t K,
                          const float* x_TD, const float* w_ED, const int64_t* experts_TK,
                          const float* dchosen_TK, float* dx_TD, float* dw_ED, float* db_E) {
  at::parallel_for(0, T, rows_a_thread(K * D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernels.weighted_sum(D, K, w_ED, experts_TK + t * K, dchosen_TK + t * K, dx_TD + t * D);
  });

  // The tokens of each expert, in their order, and what each adds.
  std::vector<int64_t> next(static_cast<size_t>(E + 1), 0), token(static_cast<size_t>(T * K));
  std::vector<float> weight(static_cast<size_t>(T * K));
  for (int64_t n = 0; n < T * K; ++n) ++next[static_cast<size_t>(experts_TK[n] + 1)];
  for (size_t e = 0; e < static_cast<size_t>(E); ++e) next[e + 1] += next[e];
  const std::vector<int64_t> offsets = next;
  for (int64_t t = 0; t < T; ++t)
    for (int64_t n = t * K; n < (t + 1) * K; ++n) {
      const auto place = static_cast<size_t>(next[static_cast<size_t>(experts_TK[n])]++);
      token[place] = t;
      weight[place] = dchosen_TK[n];
    }
  for_each_item(E, [&](int64_t e) {
    const int64_t begin = offsets[static_cast<size_t>(e)];
    const int64_t count = offsets[static_cast<size_t>(e + 1)] - begin;
    const float* const weights = weight.data() + begin;
    kernels.weighted_sum(D, count, x_TD, token.data() + begin, weights, dw_ED + e * D);
    if (db_E) db_E[e] = kernels.sum(count, weights);
  });
}

}  // namespace moe::ops::cpu
