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
#include <moe/layers/cross_attention.h>
#include <moe/layers/feed_forward.h>
#include <moe/layers/half.h>
#include <moe/layers/mixer.h>
#include <moe/layers/norm.h>

namespace moe::layers {

/// What of a training step's activations is computed again in the backward pass instead of kept:
/// nothing, the MoE layers with the norm before them, or whole blocks. Loss, gradients and
/// statistics are the same to the bit.
enum class Recompute { kNone, kMoE, kBlocks };

/// One block of a stack: a mixer and a feed-forward, where norms stand, and the residual rule.
///
/// A half f with the stream x, the scale b and the residual factor a gives, by norm_position:
///
///   pre       a x + b f(norm(x))
///   post      norm(a x + b f(x))                    (Vaswani et al. 2017)
///   output    a x + b norm(f(x))                    (OLMo 2)
///   both      a x + b output_norm(f(norm(x)))       (Grok-1, Gemma, AFMoE)
///   residual  a x' + b f(x') with x' = norm(x)      (MiniMax-Text-01)
///
/// and the halves follow one another, or meet by `wiring`:
///
///   sequential    h = half(mixer, x); half(feed_forward, h)
///   parallel      a x + b mixer(n) + b' feed_forward(n) with n = norm(x)     (Cohere)
///   dense_beside  h = x + mixer(norm(x)); h + dense(norm(h)) + feed_forward(norm(x))  (Arctic)
///   shortcut      LongCat-Flash: with every norm its own,
///                 a = x + mixer(norm(x)); n = norm(a); b = a + dense(n);
///                 c = b + second_mixer(norm(b)); c + second_dense(norm(c)) + feed_forward(n)
///   cross         h = half(mixer, x); c = h + cross_attention(norm(h)); half(feed_forward, c)
///                 (decoders that read an encoder's output)
struct BlockSpec {
  MixerSpec mixer = {};
  FeedForwardSpec feed_forward = {};
  std::string norm = "rmsnorm";
  double norm_epsilon = 1e-5;
  std::string norm_position = "pre";
  std::string feed_forward_norm_position = "";
  double mixer_scale = 1;
  double feed_forward_scale = 1;
  double mixer_residual = 1;
  double feed_forward_residual = 1;
  bool output_scale = false;
  std::string wiring = "sequential";
  FeedForwardSpec dense = {};
  CrossAttention cross = {};
  double dropout = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("mixer", mixer, "what lets tokens see each other");
    v("feed_forward", feed_forward, "what looks at each token");
    v("norm", norm,
      "rmsnorm, rmsnorm_offset (times 1 + scale), rmsnorm_plain (no scale), layernorm or "
      "layernorm_scale (no bias)");
    v("norm_epsilon", norm_epsilon, "added to the mean square");
    v("norm_position", norm_position,
      "pre: x + f(norm(x)); post: norm(x + f(x)); output: x + norm(f(x)); both: x + "
      "norm(f(norm(x))); "
      "residual: n + f(n) with n = norm(x)");
    v("feed_forward_norm_position", feed_forward_norm_position,
      "the same for the feed-forward where it differs; \"\": as norm_position");
    v("mixer_scale", mixer_scale, "the mixer's output is multiplied by this");
    v("feed_forward_scale", feed_forward_scale, "the feed-forward's output is multiplied by this");
    v("mixer_residual", mixer_residual,
      "what the mixer's output is added to is multiplied by this");
    v("feed_forward_residual", feed_forward_residual,
      "what the feed-forward's output is added to is multiplied by this");
    v("output_scale", output_scale,
      "multiply the block's output by a stored number that is not trained");
    v("wiring", wiring,
      "sequential: mixer, then feed-forward; parallel: both read one norm; dense_beside: the "
      "feed-forward reads the block's input, `dense` what the mixer left; shortcut: two mixers and "
      "two of `dense` while the feed-forward's output waits for the end; cross: attention to an "
      "encoder's output between the two");
    v("dense", dense, "the feed-forward beside the other in dense_beside and shortcut");
    v("cross", cross, "the attention of wiring = cross");
    v("dropout", dropout, "on the output of each half");
  }
  void validate(const std::string& place) const;
  void resolve();
};

/// What every block is made for.
struct BlockShape {
  int64_t d_model = 0;
  bool causal = true;
  parallel::Layout layout = {};
  at::TensorOptions tensors = {};
};

/// What a block remembers of earlier calls; a part that remembers nothing, or that the wiring does
/// not have, is null.
struct BlockState {
  std::unique_ptr<LayerState> mixer, feed_forward;
  std::unique_ptr<LayerState> dense = {}, second_mixer = {}, second_dense = {}, cross = {};

  /// The ones that are there.
  std::vector<LayerState*> parts() const;
};

/// A mixer, then a feed-forward, each with its norm and a residual around it; or what else
/// BlockSpec says. Its children are named by their kinds:
///
///   "attention_norm", "attention", "ffn_norm", "moe", …; norms behind a half
///   "attention_output_norm", "ffn_output_norm"
///   parallel: "norm" instead of the first two norms
///   dense_beside: also "dense_norm", "dense"
///   shortcut: also "dense", "second_attention_norm", "second_attention", "second_ffn_norm",
///   "second_dense"
///   cross: also "cross_norm", "cross_attention"
///
/// A feed-forward of kind "dense" beside another is "feed_forward". With output_scale there is the
/// buffer "output_scale" (1), which starts at one.
class BlockImpl : public Module {
 public:
  BlockImpl(const BlockSpec& spec, int64_t layer, const BlockShape& shape);

  /// x_TD -> (T, D), and a report where the block routes; `context` is the layer's. The routing in
  /// the report carries no gradient where it is recomputed. A block that reads a memory is not
  /// recomputed whole: kBlocks is kMoE for it.
  std::pair<Tensor, std::optional<LayerReport>> forward(const Tensor& x_TD,
                                                        const LayerContext& context,
                                                        BlockState* state,
                                                        Recompute recompute = Recompute::kNone);
  /// Empty, without slots. Throws moe::Error where a part cannot go on from earlier calls.
  BlockState new_state(const StateShape& shape) const;

  const Mixer& mixer() const { return *mixer_; }
  Mixer& mixer() { return *mixer_; }
  /// Every mixer, in the order in which they work.
  std::vector<const Mixer*> mixers() const;
  const FeedForward& feed_forward() const { return *feed_forward_; }
  FeedForward& feed_forward() { return *feed_forward_; }
  const BlockSpec& spec() const { return spec_; }
  bool routes() const { return feed_forward_->routes(); }

 private:
  using Report = std::optional<LayerReport>;
  /// Some of the block: an output of x_TD, and the report if a routing is among it.
  using Stage = std::function<Tensor(const Tensor& x_TD, Report& report)>;
  /// What one call of forward knows beside x_TD.
  struct Call {
    LayerContext context;
    BlockState* state = nullptr;
    bool again_in_moe = false;
  };

  Norm add_norm(const std::string& name, const BlockShape& shape);
  Half add_half(const std::string& name, const std::string& position, double scale, double residual,
                const BlockShape& shape);
  std::shared_ptr<Mixer> add_mixer(const std::string& name, const BlockShape& shape);
  std::shared_ptr<FeedForward> add_feed_forward(const std::string& name,
                                                const FeedForwardSpec& spec,
                                                const BlockShape& shape);

  // The wirings, in block_wirings.cpp; each adds its part of the block to the stream.
  Tensor sequential(const Tensor& x_TD, const Call& call, Report& report);
  Tensor parallel(const Tensor& x_TD, const Call& call, Report& report);
  Tensor dense_beside(const Tensor& x_TD, const Call& call, Report& report);
  Tensor shortcut(const Tensor& x_TD, const Call& call, Report& report);
  Tensor crossing(const Tensor& x_TD, const Call& call, Report& report);

  // What comes of a part, with the norms of its half, before it is added to the stream.
  Tensor mixed(const Tensor& r_TD, const Call& call);
  Tensor mixed_again(const Tensor& r_TD, const Call& call);
  Tensor fed(const Tensor& r_TD, const Call& call, Report& report);
  Tensor through_dense(const Tensor& n_TD, const Call& call);
  Tensor through_second_dense(const Tensor& n_TD, const Call& call);

  /// stage(x_TD, report), computed again in the backward pass.
  Tensor again(const Stage& stage, const Tensor& x_TD, Report& report);

  BlockSpec spec_;
  int64_t layer_;
  std::shared_ptr<Mixer> mixer_, second_mixer_, cross_;
  std::shared_ptr<FeedForward> feed_forward_, dense_, second_dense_;
  Half mixer_half_, feed_forward_half_, second_half_, cross_half_;
  Norm norm_{nullptr};        // what several parts read
  Norm dense_norm_{nullptr};  // of dense_beside, and of the second dense of shortcut
  Tensor output_scale_;
};
TORCH_MODULE(Block);

}  // namespace moe::layers
