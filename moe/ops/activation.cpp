#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/square.h>

#include <moe/base/error.h>
#include <moe/ops/grouped.h>

namespace moe::ops {

Activation parse_activation(const std::string& name, const std::string& place) {
  if (name == "relu") return Activation::kRelu;
  if (name == "relu_squared") return Activation::kReluSquared;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "silu") return Activation::kSilu;
  const std::vector<std::string> known = {"relu", "relu_squared", "gelu", "gelu_tanh", "silu"};
  fail<ConfigError>(place, "expected an activation of ", join(known), ", got '", name, "'.",
                    did_you_mean(name, known));
}

Tensor activate(const Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kReluSquared:
      return at::square(at::relu(x));
    case Activation::kGelu:
      return at::gelu(x, "none");
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kSilu:
      return at::silu(x);
  }
  fail("ops/activate", "expected a known activation, got ", static_cast<int>(activation), ".");
}

}  // namespace moe::ops
