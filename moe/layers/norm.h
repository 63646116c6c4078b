#pragma once
// D width.

#include <string>

#include <torch/nn/pimpl.h>

#include <moe/parameters/module.h>

namespace moe::layers {

/// Normalises the last dimension: RMSNorm x / rms(x) * scale, or LayerNorm (x - mean) / std * scale
/// + bias. Returns float32 (float64 for float64), whatever the input is.
class NormImpl : public Module {
 public:
  /// `kind` is "rmsnorm" or "layernorm"; throws ConfigError otherwise.
  NormImpl(const std::string& kind, int64_t width, double epsilon,
           const at::TensorOptions& tensors = {});

  Tensor forward(const Tensor& x);

 private:
  double epsilon_;
  Tensor scale_D, bias_D;  // without a bias: RMSNorm
};
TORCH_MODULE(Norm);

/// Throws ConfigError naming `option` unless `kind` is a norm.
void check_norm(const std::string& kind, const std::string& option);

}  // namespace moe::layers
