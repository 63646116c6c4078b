#pragma once

#include <torch/nn/module.h>

#include <moe/base/error.h>

namespace moe {

/// How parameters start.
struct InitOptions {
  std::string scheme = "fan_in";
  double scale = 1.0;
  double std = 0.02;
  double embedding_std = 1.0;
  double router_std = 0.02;

  template <class Visitor>
  void fields(Visitor& v) {
    v("scheme", scheme,
      "fan_in (normal, std = scale / sqrt(inputs)), normal (std), truncated_normal (Switch: std = "
      "sqrt(scale / inputs), cut at "
      "2 std), xavier_uniform or kaiming_normal");
    v("scale", scale, "factor of fan_in and truncated_normal (Switch: 0.1)");
    v("std", std, "standard deviation of the normal scheme");
    v("embedding_std", embedding_std, "standard deviation of embeddings");
    v("router_std", router_std, "standard deviation of router matrices");
  }
  void validate(const std::string& place) const;
};

/// Fills every parameter and buffer of `module` from `seed` and its full name (its name in `module`
/// behind `prefix`), whatever ranks or devices hold it. To be called once everything has memory.
///
/// By role: biases and state zero, scales one, embeddings and routers' scores normal
/// (embedding_std, router_std), matrices and heads by the scheme; a matrix whose product is added
/// to the residual stream is divided by sqrt(2 depth) when depth > 0. Stacked experts each draw
/// their own numbers, by their global number. What has a start of its own takes that; what came
/// with its start (modules of a user) is left alone.
void initialise(torch::nn::Module& module, const InitOptions& options, uint64_t seed,
                int64_t depth = 0, const std::string& prefix = "");

}  // namespace moe
