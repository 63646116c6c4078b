#pragma once
// A MoE layer token by token, differentiable by libtorch, without sorting or grouping.
// T tokens, E experts, N pairs, D width, F hidden, O outputs.

#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>

#include <moe/flow/routing.h>
#include <moe/ops/grouped.h>

namespace moe::test::reference {

using at::Tensor;

/// w_out (act(w_gate x) * w_up x) + b_out, or w_out act(w_in x + b_in) + b_out; x (…, D).
inline Tensor dense_block(const Tensor& x, const Tensor& w_in, const Tensor& b_in,
                          const Tensor& w_out, const Tensor& b_out, ops::Activation act,
                          bool gated) {
  Tensor pre = at::matmul(x, w_in.t());
  if (b_in.defined()) pre = pre + b_in;
  const int64_t F = w_out.size(1);
  const Tensor h = gated ? ops::activate(pre.narrow(-1, 0, F), act) * pre.narrow(-1, F, F)
                         : ops::activate(pre, act);
  const Tensor y = at::matmul(h, w_out.t());
  return b_out.defined() ? y + b_out : y;
}

/// y_t = sum over t's pairs, in order, of weight * expert(e, x_t); (T, D).
template <class Expert>
Tensor mixture(const Tensor& x_TD, const Routing& routing, const Expert& expert) {
  std::vector<Tensor> rows = {at::zeros({0, x_TD.size(1)}, x_TD.options())};
  for (int64_t t = 0; t < routing.tokens(); ++t) {
    Tensor y_D = at::zeros({x_TD.size(1)}, x_TD.options());
    const int64_t begin = routing.offsets[t].item<int64_t>(),
                  end = routing.offsets[t + 1].item<int64_t>();
    for (int64_t n = begin; n < end; ++n) {
      const int64_t e = routing.experts_N[n].item<int64_t>();
      if (e == routing.num_experts) continue;
      const Tensor weight = routing.weights_N[n];
      y_D = y_D +
            (routing.weight_on_input ? expert(e, x_TD[t] * weight) : expert(e, x_TD[t]) * weight);
    }
    rows.push_back(y_D.unsqueeze(0));
  }
  return at::cat(rows);
}

}  // namespace moe::test::reference
