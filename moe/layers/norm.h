#pragma once
// D width.

#include <string>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

namespace moe::layers {

using at::Tensor;

/// Normalises the last dimension: RMSNorm x / rms(x) * scale, or LayerNorm (x - mean) / std * scale
/// + bias. Returns float32 (float64 for float64), whatever the input is.
class NormImpl : public torch::nn::Module {
 public:
  /// `kind` is "rmsnorm" or "layernorm"; throws ConfigError otherwise.
  NormImpl(const std::string& kind, int64_t width, double epsilon);

  Tensor forward(const Tensor& x);

 private:
  bool centred_;
  double epsilon_;
  Tensor scale_D, bias_D;
};
TORCH_MODULE(Norm);

}  // namespace moe::layers
