#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <moe/flow/routing.h>
#include <moe/ops/order.h>

namespace moe {

Tensor Routing::tokens_N() const {
  const auto options = experts_N.options();
  if (choices > 0) return at::arange(pairs(), options).div_(choices, "floor");
  const Tensor counts_T = offsets.slice(0, 1) - offsets.slice(0, 0, -1);
  return at::repeat_interleave(at::arange(tokens(), options), counts_T, /*dim=*/0,
                               /*output_size=*/pairs());
}

Tensor Routing::counts_E() const {
  return ops::count_ids(experts_N, num_experts);
}

Tensor Routing::dropped() const {
  Tensor marked_N = experts_N.eq(num_experts);
  if (valid_T.defined()) marked_N = marked_N.logical_and(valid_T.index_select(0, tokens_N()));
  return marked_N.sum();
}

Tensor Routing::valid_tokens() const {
  if (valid_T.defined()) return valid_T.sum();
  return at::scalar_tensor(tokens(), experts_N.options());
}

Routing fixed_choices(const Tensor& experts_TK, const Tensor& weights_TK, int64_t num_experts,
                      const Tensor& valid_T) {
  const int64_t T = experts_TK.size(0), K = experts_TK.size(1);
  Routing routing;
  routing.num_experts = num_experts;
  routing.choices = K;
  routing.offsets = at::arange(T + 1, experts_TK.options()).mul_(K);
  routing.valid_T = valid_T;
  Tensor chosen_TK = experts_TK, kept_TK = weights_TK;
  if (valid_T.defined()) {
    const Tensor valid_T1 = valid_T.unsqueeze(1);
    chosen_TK = at::where(valid_T1, experts_TK, num_experts);
    kept_TK = at::where(valid_T1, weights_TK, at::zeros_like(weights_TK));
  }
  routing.experts_N = chosen_TK.reshape({T * K});
  routing.weights_N = kept_TK.reshape({T * K});
  return routing;
}

}  // namespace moe
