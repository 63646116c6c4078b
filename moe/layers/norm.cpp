// D width.
#include <ATen/ops/layer_norm.h>

#include <moe/base/error.h>
#include <moe/layers/norm.h>
#include <moe/ops/norm.h>

namespace moe::layers {

void check_norm(const std::string& kind, const std::string& option) {
  check_one_of("layers/norm", option, kind, {"rmsnorm", "layernorm"});
}

NormImpl::NormImpl(const std::string& kind, int64_t width, double epsilon,
                   const at::TensorOptions& tensors)
    : Module(tensors), epsilon_(epsilon) {
  check_norm(kind, "norm");
  scale_D = add_parameter("scale", {width}, {.role = Role::kScale});
  if (kind == "layernorm") bias_D = add_parameter("bias", {width}, {.role = Role::kBias});
}

Tensor NormImpl::forward(const Tensor& x) {
  if (!bias_D.defined()) return ops::rms_norm(x, scale_D, epsilon_);
  const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::layer_norm(x.to(type), scale_D.sizes(), scale_D.to(type), bias_D.to(type), epsilon_);
}

}  // namespace moe::layers
