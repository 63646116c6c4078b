#pragma once
// D width.

#include <string>
#include <vector>

#include <torch/nn/pimpl.h>

#include <moe/parameters/module.h>

namespace moe::layers {

/// Normalises the last dimension, by kind:
///
///   rmsnorm           x / rms(x) * scale                          (Zhang and Sennrich 2019)
///   rmsnorm_offset    x / rms(x) * (1 + scale), scale starts at 0 (Gemma, Qwen3-Next)
///   rmsnorm_plain     x / rms(x), no parameter                    (Llama 4)
///   layernorm         (x - mean) / std * scale + bias             (Ba et al. 2016)
///   layernorm_scale   (x - mean) / std * scale                    (DBRX, Cohere)
///
/// with rms(x) = sqrt(mean x^2 + epsilon) and std = sqrt(var + epsilon). Returns float32 (float64
/// for float64), whatever the input is.
class NormImpl : public Module {
 public:
  /// `kind` is one of norm_kinds(); throws ConfigError otherwise.
  NormImpl(const std::string& kind, int64_t width, double epsilon,
           const at::TensorOptions& tensors = {});

  Tensor forward(const Tensor& x);

 private:
  int64_t width_;
  double epsilon_;
  bool centres_, offset_;
  Tensor scale_D, bias_D;  // undefined where the kind has none
};
TORCH_MODULE(Norm);

const std::vector<std::string>& norm_kinds();
/// Throws ConfigError naming `option` unless `kind` is a norm.
void check_norm(const std::string& kind, const std::string& option);

}  // namespace moe::layers
