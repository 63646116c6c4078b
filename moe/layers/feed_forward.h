#pragma once
// T tokens, D width, F hidden.

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <moe/experts/feed_forward_options.h>
#include <moe/flow/context.h>
#include <moe/ops/grouped.h>

namespace moe::layers {

/// The dense block that a MoE layer replaces: w_out act(w_in x) or, gated, w_out (act(g) * u). One
/// expert that takes every token. Parameters w_in (F or 2F, D), w_out (D, F), b_in, b_out; with a
/// token gate (Qwen's shared expert) also w_gate (1, D), and the output is multiplied by
/// sigmoid(w_gate x).
class FeedForwardImpl : public torch::nn::Module {
 public:
  /// `form` is "gated" or "ffn"; throws ConfigError otherwise.
  FeedForwardImpl(const std::string& form, int64_t d_model, int64_t d_ff,
                  const experts::FeedForwardOptions& options, bool token_gate = false);

  Tensor forward(const Tensor& x_TD, const RoutingContext& context);
  int64_t flops_per_row() const;

 private:
  bool gated_;
  experts::FeedForwardOptions options_;
  ops::Activation activation_;
  Tensor w_in, b_in, w_out, b_out, w_gate;
};
TORCH_MODULE(FeedForward);

}  // namespace moe::layers
