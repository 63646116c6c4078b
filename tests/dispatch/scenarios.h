#pragma once
// Routings that dispatchers find hard, and the layer that they must equal.
// T tokens, K choices, N pairs, E experts, L experts on this rank, R rows, D width, O output width.

#include <cmath>
#include <string>
#include <tests/support/gradcheck.h>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <moe/base/random.h>
#include <moe/flow/plan.h>
#include <moe/flow/routing.h>

namespace moe::test::dispatching {

using at::Tensor;

constexpr int64_t kExperts = 12;  // divisible by 1, 2, 3 and 4 ranks
constexpr int64_t kWidth = 5;

/// A routing of T tokens where token t's pairs go to choose(t); E means dropped.
template <class Choose>
Routing routing_of(int64_t tokens, Choose choose) {
  std::vector<int64_t> offsets = {0}, experts;
  for (int64_t t = 0; t < tokens; ++t) {
    for (const int64_t e : choose(t)) experts.push_back(e);
    offsets.push_back(static_cast<int64_t>(experts.size()));
  }
  Routing routing;
  routing.num_experts = kExperts;
  routing.offsets = at::tensor(offsets, at::kLong);
  routing.experts_N = at::tensor(experts, at::kLong);
  routing.weights_N = normal({routing.pairs()}, 1) * routing.experts_N.lt(kExperts);
  return routing;
}

/// 0 to E choices a token, distinct, in any order; every fifth pair dropped.
inline Routing ragged(int64_t tokens) {
  const RandomStream stream({.seed = 12}, Purpose::kTest);
  return routing_of(tokens, [&](int64_t t) {
    std::vector<int64_t> experts;
    const int64_t first = stream.bits(2 * t) % kExperts,
                  count = stream.bits(2 * t + 1) % (kExperts + 1);
    for (int64_t i = 0; i < count; ++i) experts.push_back((first + 5 * i) % kExperts);
    for (size_t i = 0; i < experts.size(); ++i)
      if ((t + i) % 5 == 4) experts[i] = kExperts;
    return experts;
  });
}

struct Load {
  std::string name;
  Routing routing;
};

inline std::vector<Load> loads() {
  std::vector<int64_t> all(kExperts);
  for (int64_t e = 0; e < kExperts; ++e) all[e] = kExperts - 1 - e;
  std::vector<Load> result = {
      {"ragged", ragged(23)},
      {"one_expert_takes_all", routing_of(9, [](int64_t) { return std::vector<int64_t>{7}; })},
      {"all_dropped", routing_of(6, [](int64_t) { return std::vector<int64_t>(2, kExperts); })},
      {"no_token", routing_of(0, [](int64_t) { return std::vector<int64_t>{}; })},
      {"no_pair", routing_of(4, [](int64_t) { return std::vector<int64_t>{}; })},
      {"one_token", routing_of(1,
                               [](int64_t) {
                                 return std::vector<int64_t>{3, 11};
                               })},
      {"every_expert", routing_of(5, [&](int64_t) { return all; })},
  };
  result.back().routing.choices = kExperts;
  return result;
}

/// Tokens begin .. end of a routing, as the rank that holds them sees it.
inline Routing part_of(const Routing& routing, int64_t begin, int64_t end) {
  const int64_t first = routing.offsets[begin].item<int64_t>(),
                last = routing.offsets[end].item<int64_t>();
  Routing part = routing;
  part.offsets = routing.offsets.slice(0, begin, end + 1) - first;
  part.experts_N = routing.experts_N.slice(0, first, last);
  part.weights_N = routing.weights_N.slice(0, first, last);
  part.first_token = routing.first_token + begin;
  return part;
}

/// The output of a layer and its gradients.
struct Gradients {
  Tensor y_TO, x_TD, weights_N, w_EOD;
};

inline Tensor leaf(const Tensor& values) {
  return values.clone().set_requires_grad(true);
}

inline Tensor gradient_of(const Tensor& tensor) {
  return tensor.grad().defined() ? tensor.grad() : at::zeros_like(tensor);
}

/// Output and gradients of sum(y * coefficient) by `layer(x, routing, w)`.
template <class Layer>
Gradients differentiate(const Tensor& x_TD, Routing routing, const Tensor& w_EOD,
                        const Tensor& coefficient_TO, Layer layer) {
  const Tensor x = leaf(x_TD), w = leaf(w_EOD), weights = leaf(routing.weights_N);
  routing.weights_N = weights;
  const Tensor y_TO = layer(x, routing, w);
  if (y_TO.requires_grad()) (y_TO * coefficient_TO).sum().backward();
  return {y_TO.detach(), gradient_of(x), gradient_of(weights), gradient_of(w)};
}

inline void expect_near(const Tensor& got, const Tensor& expected, const std::string& what) {
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  if (got.numel() == 0) return;
  const double worst = (got - expected).abs().max().item<double>();
  EXPECT_LE(worst, 1e-12) << what;  // NaN fails too
}

/// What the tests' expert e does to a row of global token g: tanh(W[e] x) * (1 + g / 10);
/// nonlinear, so that it matters whether the weight is on the input, and token numbers must arrive
/// with their rows.
inline Tensor expert(const Tensor& w_OD, const Tensor& rows_RD, const Tensor& token_R) {
  return rows_RD.matmul(w_OD.t()).tanh() * (1 + token_R.to(at::kDouble).unsqueeze(1) / 10);
}

/// The experts of one rank on lazy rows. Rows behind the last offset become NaN: whoever reads them
/// is found out.
inline Tensor forward(const ExpertRows& rows, const Tensor& w_LOD) {
  const Tensor index_R = rows.index_R.defined() ? rows.index_R : at::arange(rows.rows(), at::kLong);
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (int64_t e = 0; e < w_LOD.size(0); ++e) {
    const int64_t end = rows.offsets_L[e + 1].item<int64_t>();
    parts.push_back(expert(w_LOD[e], rows.source_SD.index_select(0, index_R.slice(0, begin, end)),
                           rows.token_R.slice(0, begin, end)));
    begin = end;
  }
  parts.push_back(at::full({rows.rows() - begin, w_LOD.size(1)}, std::nan(""), at::kDouble));
  return at::cat(parts);
}

/// The oracle: token by token, pair by pair, nothing sorted.
inline Tensor naive(const Tensor& x_TD, const Routing& routing, const Tensor& w_EOD) {
  std::vector<Tensor> rows = {at::zeros({0, w_EOD.size(1)}, at::kDouble)};
  for (int64_t t = 0; t < routing.tokens(); ++t) {
    Tensor y_1O = at::zeros({1, w_EOD.size(1)}, at::kDouble);
    for (int64_t n = routing.offsets[t].item<int64_t>(); n < routing.offsets[t + 1].item<int64_t>();
         ++n) {
      const int64_t e = routing.experts_N[n].item<int64_t>();
      if (e == kExperts) continue;
      const Tensor weight = routing.weights_N[n],
                   token_1 = at::full({1}, routing.first_token + t, at::kLong);
      const Tensor x_1D = x_TD.slice(0, t, t + 1);
      y_1O = y_1O + (routing.weight_on_input ? expert(w_EOD[e], x_1D * weight, token_1)
                                             : expert(w_EOD[e], x_1D, token_1) * weight);
    }
    rows.push_back(y_1O);
  }
  return at::cat(rows);
}

}  // namespace moe::test::dispatching
