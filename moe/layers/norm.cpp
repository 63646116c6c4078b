// D width.
#include <ATen/TensorOperators.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>

#include <moe/base/error.h>
#include <moe/layers/norm.h>
#include <moe/ops/norm.h>

namespace moe::layers {

const std::vector<std::string>& norm_kinds() {
  static const std::vector<std::string> kinds = {"rmsnorm", "rmsnorm_offset", "rmsnorm_plain",
                                                 "layernorm", "layernorm_scale"};
  return kinds;
}

void check_norm(const std::string& kind, const std::string& option) {
  check_one_of("layers/norm", option, kind, norm_kinds());
}

NormImpl::NormImpl(const std::string& kind, int64_t width, double epsilon,
                   const at::TensorOptions& tensors)
    : Module(tensors),
      width_(width),
      epsilon_(epsilon),
      centres_(kind.starts_with("layernorm")),
      offset_(kind == "rmsnorm_offset") {
  check_norm(kind, "norm");
  ParameterInfo scale = {.role = Role::kScale};
  if (offset_) scale.start = [](Tensor values, const RandomStream&) { values.zero_(); };
  if (kind != "rmsnorm_plain") scale_D = add_parameter("scale", {width}, scale);
  if (kind == "layernorm") bias_D = add_parameter("bias", {width}, {.role = Role::kBias});
}

Tensor NormImpl::forward(const Tensor& x) {
  const auto type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  if (centres_)
    return at::layer_norm(x.to(type), scale_D.sizes(), scale_D.to(type),
                          bias_D.defined() ? bias_D.to(type) : bias_D, epsilon_);
  if (!scale_D.defined())
    return ops::rms_norm(x, at::ones({width_}, x.options().dtype(type)), epsilon_);
  return ops::rms_norm(x, offset_ ? scale_D.to(type) + 1 : scale_D, epsilon_);
}

}  // namespace moe::layers
