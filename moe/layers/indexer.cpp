// T tokens, Q of one sequence, C positions up to the last of them, D width, J heads, I their width.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/topk.h>

#include <moe/base/error.h>
#include <moe/layers/indexer.h>
#include <moe/layers/linear.h>

namespace moe::layers {

namespace {

/// Of the LayerNorm of keys, in every published model.
constexpr double kIndexerEpsilon = 1e-6;

/// (Q, C) bool: the `count` largest of what each row may see, equal ones from the left.
Tensor largest(const Tensor& scores_QC, const Tensor& visible_QC, int64_t count) {
  const Tensor masked_QC = scores_QC.masked_fill(visible_QC.logical_not(), -INFINITY);
  const Tensor least_Q1 = std::get<0>(at::topk(masked_QC, count, 1)).narrow(1, count - 1, 1);
  const Tensor above_QC = masked_QC.gt(least_Q1), equal_QC = masked_QC.eq(least_Q1);
  const Tensor left_Q1 = count - above_QC.sum(1, true);
  return above_QC.logical_or(equal_QC.logical_and(equal_QC.cumsum(1).le(left_Q1)))
      .logical_and(visible_QC);
}

}  // namespace

KeyIndexerImpl::KeyIndexerImpl(const Indexer& options, const MixerShape& shape, int64_t q_rank)
    : Module(shape.tensors), options_(options) {
  const int64_t J = options.heads, I = options.head_dim, D = shape.d_model;
  w_q = add_parameter("w_q", {J * I, q_rank}, {});
  w_k = add_parameter("w_k", {I, D}, {});
  w_weights = add_parameter("w_weights", {J, D}, {});
  k_norm = register_module("k_norm", Norm("layernorm", I, kIndexerEpsilon, shape.tensors));
  for (auto& parameter : parameters()) parameter.set_requires_grad(false);
}

IndexerTokens KeyIndexerImpl::forward(const Tensor& x_TD, const Tensor& compressed_TQ,
                                      const ops::RopeTable* table, at::ScalarType type) {
  const at::NoGradGuard no_grad;
  const int64_t T = x_TD.size(0), J = options_.heads, I = options_.head_dim;
  const auto turned = [&](const Tensor& x_THI) { return table ? ops::rope(x_THI, *table) : x_THI; };
  const Tensor key_T1I = k_norm(linear(x_TD, w_k, {}, type)).to(type).view({T, 1, I});
  return {.q_TJI = turned(linear(compressed_TQ, w_q, {}, type).view({T, J, I})),
          .key_TI = turned(key_T1I).view({T, I}),
          .weight_TJ = linear(x_TD, w_weights, {}, type)};
}

Tensor KeyIndexerImpl::choose(const Tensor& q_QJI, const Tensor& weight_QJ,
                              const Tensor& key_CI) const {
  /// Scores of all heads in memory at once.
  constexpr int64_t kMostScores = int64_t{1} << 24;
  const at::NoGradGuard no_grad;
  const int64_t Q = q_QJI.size(0), C = key_CI.size(0), J = options_.heads, I = options_.head_dim;
  if (C <= options_.top_k || Q == 0) return {};
  // Scores are compared in float32 at least.
  const auto wide = q_QJI.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor key = key_CI.to(wide).contiguous(),
               position_C = at::arange(C, key.options().dtype(at::kLong));
  const Tensor weight_QJ1 =
      (weight_QJ.to(wide) / std::sqrt(static_cast<double>(I * J))).unsqueeze(2);
  const int64_t rows = std::max<int64_t>(1, kMostScores / (J * C));
  std::vector<Tensor> parts;
  for (int64_t begin = 0; begin < Q; begin += rows) {
    const int64_t count = std::min(rows, Q - begin);
    const Tensor q_XI = q_QJI.narrow(0, begin, count).to(wide).reshape({count * J, I});
    const Tensor dots_QJC = ops::linear(q_XI, key).relu().view({count, J, C});
    const Tensor scores_QC = (dots_QJC * weight_QJ1.narrow(0, begin, count)).sum(1);
    const Tensor own_Q1 = position_C.narrow(0, C - Q + begin, count).unsqueeze(1);
    parts.push_back(largest(scores_QC, position_C.le(own_Q1), options_.top_k));
  }
  return at::cat(parts);
}

}  // namespace moe::layers
