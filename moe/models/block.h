#pragma once
// B batch, S sequence, T = B·S tokens, D width.

#include <functional>
#include <optional>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <moe/layers/attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/model.h>

namespace moe::models {

/// One layer of the stack: attention, then a MoE layer or a dense block, each with its norm and a
/// residual around it. pre: x + f(norm(x)); post: norm(x + f(x)).
class BlockImpl : public torch::nn::Module {
 public:
  BlockImpl(const ModelOptions& options, int64_t layer, const ModelShape& shape);

  /// x_BSD -> (B, S, D); `context` is the layer's. The report is empty for a dense layer; the
  /// routing in it carries no gradient where it is recomputed.
  std::pair<Tensor, std::optional<LayerReport>> forward(const Tensor& x_BSD, const Tensor& valid_BS,
                                                        const RoutingContext& context,
                                                        layers::KeyValueCache* cache,
                                                        Recompute recompute = Recompute::kNone);

  bool is_moe() const { return static_cast<bool>(moe_); }
  layers::MoELayerImpl& moe() { return *moe_; }

 private:
  using Report = std::optional<LayerReport>;
  /// Some of the block: an output of x_BSD, and the report if the MoE layer is among it.
  using Stage = std::function<Tensor(const Tensor& x_BSD, Report& report)>;

  Tensor attend(const Tensor& x_BSD, const Tensor& valid_BS, const RoutingContext& context,
                layers::KeyValueCache* cache);
  Tensor feed_forward(const Tensor& x_BSD, const RoutingContext& context, Report& report);
  /// stage(x_BSD, report), computed again in the backward pass.
  Tensor again(const Stage& stage, const Tensor& x_BSD, Report& report);

  int64_t layer_;
  bool pre_;
  double dropout_;
  layers::Attention attention{nullptr};
  layers::Norm attention_norm{nullptr}, ffn_norm{nullptr};
  layers::FeedForward ffn{nullptr};
  layers::MoELayer moe_{nullptr};
};
TORCH_MODULE(Block);

}  // namespace moe::models
