#pragma once
// T tokens, D width.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <torch/nn/pimpl.h>

#include <moe/flow/output.h>
#include <moe/layers/feed_forward.h>
#include <moe/layers/mixer.h>
#include <moe/layers/norm.h>

namespace moe::layers {

/// What of a training step's activations is computed again in the backward pass instead of kept:
/// nothing, the MoE layers with the norm before them, or whole blocks. Loss, gradients and
/// statistics are the same to the bit.
enum class Recompute { kNone, kMoE, kBlocks };

/// One block of a stack: a mixer and a feed-forward, where norms stand, and the residual rule.
struct BlockSpec {
  MixerSpec mixer = {};
  FeedForwardSpec feed_forward = {};
  std::string norm = "rmsnorm";
  double norm_epsilon = 1e-5;
  std::string norm_position = "pre";
  double dropout = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("mixer", mixer, "what lets tokens see each other");
    v("feed_forward", feed_forward, "what looks at each token");
    v("norm", norm, "rmsnorm or layernorm");
    v("norm_epsilon", norm_epsilon, "added to the mean square");
    v("norm_position", norm_position, "pre: x + f(norm(x)); post: norm(x + f(x))");
    v("dropout", dropout, "on the output of each half");
  }
  void validate(const std::string& place) const;
  void resolve();
};

/// What every block is made for.
struct BlockShape {
  int64_t d_model = 0;
  bool causal = true;
  std::shared_ptr<parallel::Communicator> group = parallel::local();
  at::TensorOptions tensors = {};
};

/// What a block remembers of earlier calls; a half that remembers nothing is null.
struct BlockState {
  std::unique_ptr<LayerState> mixer, feed_forward;

  /// The ones that are there.
  std::vector<LayerState*> halves() const;
};

/// A mixer, then a feed-forward, each with its norm and a residual around it. Its children are
/// named by their kinds: "attention_norm", "attention", "ffn_norm", "moe", …
class BlockImpl : public Module {
 public:
  BlockImpl(const BlockSpec& spec, int64_t layer, const BlockShape& shape);

  /// x_TD -> (T, D), and a report where the block routes; `context` is the layer's. The routing in
  /// the report carries no gradient where it is recomputed.
  std::pair<Tensor, std::optional<LayerReport>> forward(const Tensor& x_TD,
                                                        const LayerContext& context,
                                                        BlockState* state,
                                                        Recompute recompute = Recompute::kNone);
  /// Empty, without slots. Throws moe::Error where a half cannot go on from earlier calls.
  BlockState new_state(const StateShape& shape) const;

  const Mixer& mixer() const { return *mixer_; }
  const FeedForward& feed_forward() const { return *feed_forward_; }
  FeedForward& feed_forward() { return *feed_forward_; }
  const BlockSpec& spec() const { return spec_; }
  bool routes() const { return feed_forward_->routes(); }

 private:
  using Report = std::optional<LayerReport>;
  /// Some of the block: an output of x_TD, and the report if a routing is among it.
  using Stage = std::function<Tensor(const Tensor& x_TD, Report& report)>;

  Tensor mix(const Tensor& x_TD, const LayerContext& context, LayerState* state);
  Tensor feed(const Tensor& x_TD, const LayerContext& context, LayerState* state, Report& report);
  /// stage(x_TD, report), computed again in the backward pass.
  Tensor again(const Stage& stage, const Tensor& x_TD, Report& report);

  BlockSpec spec_;
  int64_t layer_;
  bool pre_;
  std::shared_ptr<Mixer> mixer_;
  std::shared_ptr<FeedForward> feed_forward_;
  Norm mixer_norm_{nullptr}, feed_forward_norm_{nullptr};
};
TORCH_MODULE(Block);

}  // namespace moe::layers
