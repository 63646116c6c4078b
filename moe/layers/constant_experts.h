#pragma once
// T tokens, D width, C constant experts.

#include <torch/nn/pimpl.h>

#include <moe/parameters/module.h>

namespace moe::layers {

using at::Tensor;

/// Constant experts of MoE++ (Jin et al. 2024): expert c gives a1 x + a2 v_c with [a1, a2] =
/// softmax(W_c x). Parameters: "weight" (C, 2, D) of the W_c, "value" (C, D) of the v_c; the same
/// on every rank.
class ConstantExpertsImpl : public Module {
 public:
  ConstantExpertsImpl(int64_t count, int64_t d_model, const at::TensorOptions& tensors);

  std::optional<Part> part() const final { return Part::kExperts; }

  /// (T, D): the experts' outputs for x_TD, each times its weight of weights_TC, added up. A
  /// token's bits do not depend on the others.
  Tensor forward(const Tensor& x_TD, const Tensor& weights_TC) const;
  /// Multiply-adds x 2 of one token.
  int64_t flops_per_token() const { return 2 * weight_C2D_.numel(); }

 private:
  Tensor weight_C2D_, value_CD_;
};
TORCH_MODULE(ConstantExperts);

}  // namespace moe::layers
