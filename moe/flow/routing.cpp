#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/repeat_interleave.h>

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
  return experts_N.eq(num_experts).sum();
}

Routing fixed_choices(const Tensor& experts_TK, const Tensor& weights_TK, int64_t num_experts) {
  const int64_t T = experts_TK.size(0), K = experts_TK.size(1);
  Routing routing;
  routing.num_experts = num_experts;
  routing.choices = K;
  routing.offsets = at::arange(T + 1, experts_TK.options()).mul_(K);
  routing.experts_N = experts_TK.reshape({T * K});
  routing.weights_N = weights_TK.reshape({T * K});
  return routing;
}

}  // namespace moe
