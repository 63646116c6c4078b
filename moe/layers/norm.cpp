// D width.
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/layers/norm.h>
#include <moe/ops/norm.h>

namespace moe::layers {

NormImpl::NormImpl(const std::string& kind, int64_t width, double epsilon)
    : centred_(kind == "layernorm"), epsilon_(epsilon) {
  check<ConfigError>(kind == "rmsnorm" || kind == "layernorm", "layers/norm",
                     "expected norm \"rmsnorm\" or \"layernorm\", got \"", kind, "\".",
                     did_you_mean(kind, {"rmsnorm", "layernorm"}));
  scale_D = register_parameter("scale", at::ones({width}));
  if (centred_) bias_D = register_parameter("bias", at::zeros({width}));
}

Tensor NormImpl::forward(const Tensor& x) {
  if (!centred_) return ops::rms_norm(x, scale_D, epsilon_);
  const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return at::layer_norm(x.to(type), scale_D.sizes(), scale_D.to(type), bias_D.to(type), epsilon_);
}

}  // namespace moe::layers
