// T tokens, D width, C constant experts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/softmax.h>

#include <moe/layers/constant_experts.h>
#include <moe/layers/linear.h>
#include <moe/ops/random_fill.h>

namespace moe::layers {

ConstantExpertsImpl::ConstantExpertsImpl(int64_t count, int64_t d_model,
                                         const at::TensorOptions& tensors)
    : Module(tensors) {
  constexpr double kStd = 0.02;
  const auto small = [](const Tensor& values, const RandomStream& stream) {
    ops::fill_normal_(values, stream, kStd);
  };
  weight_C2D_ = add_parameter("weight", {count, 2, d_model}, {.role = Role::kMatrix});
  value_CD_ = add_parameter("value", {count, d_model}, {.role = Role::kBias, .start = small});
}

Tensor ConstantExpertsImpl::forward(const Tensor& x_TD, const Tensor& weights_TC) const {
  const int64_t T = x_TD.size(0), C = value_CD_.size(0);
  const auto type = x_TD.scalar_type();
  const Tensor logits_TC2 =
      linear(x_TD, weight_C2D_.flatten(0, 1), /*b_O=*/{}, type).view({T, C, 2});
  const Tensor mix_TC2 = at::softmax(logits_TC2, 2).to(weights_TC.scalar_type());
  const Tensor shares_TC2 = mix_TC2 * weights_TC.unsqueeze(2);
  Tensor y_TD = x_TD * shares_TC2.select(2, 0).sum(1, /*keepdim=*/true);
  for (int64_t c = 0; c < C; ++c)
    y_TD = y_TD + shares_TC2.select(1, c).slice(1, 1) * value_CD_[c].to(weights_TC.scalar_type());
  return y_TD;
}

}  // namespace moe::layers
