// T tokens, D model width, E experts.
#include <cmath>

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <moe/ops/random_fill.h>
#include <moe/routing/linear_router.h>

namespace moe::routing {

LinearRouter::LinearRouter(const RouterShape& shape, bool with_bias) : Router(shape) {
  const int64_t D = shape.d_model, E = shape.num_experts;
  Tensor start_ED = at::empty({E, D}, at::kFloat);
  ops::fill_normal_(start_ED, RandomStream(0, "router.weight"),
                    1 / std::sqrt(static_cast<double>(D)));
  weight_ED_ = register_parameter("weight", start_ED);
  if (with_bias) bias_E_ = register_parameter("bias", at::zeros({E}, at::kFloat));
}

at::ScalarType LinearRouter::score_type(const Tensor& x_TD) const {
  const bool wide = x_TD.scalar_type() == at::kDouble || weight_ED_.scalar_type() == at::kDouble;
  return wide ? at::kDouble : at::kFloat;
}

Tensor LinearRouter::logits(const Tensor& x_TD) const {
  check(x_TD.dim() == 2 && x_TD.size(1) == shape_.d_model && at::isFloatingType(x_TD.scalar_type()),
        "routing", "expected a floating input of shape (T, d_model=", shape_.d_model, "), got ",
        x_TD.scalar_type(), ' ', x_TD.sizes(),
        ". Flatten batch and sequence, and give the router the layer's width.");
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto type = score_type(x_TD);
  return at::linear(x_TD.to(type), weight_ED_.to(type),
                    bias_E_.defined() ? bias_E_.to(type) : bias_E_);
}

}  // namespace moe::routing
