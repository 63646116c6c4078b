#pragma once

#include <moe/models/model.h>
#include <moe/models/uniform_blocks.h>

namespace moe::models {

/// A decoder-only (or, with causal = false, bidirectional) language model: embedding, blocks, final
/// norm, head.
struct DecoderOptions {
  int64_t vocabulary = 256;
  int64_t context_length = 256;
  int64_t d_model = 128;
  /// Equal blocks; its keys stand in the model's own table.
  UniformBlocks uniform = {};
  /// Instead of those: one spec a block.
  std::vector<layers::BlockSpec> blocks = {};
  bool tied_embeddings = false;
  bool learned_positions = false;
  double embedding_scale = 1;
  bool head_bias = false;
  double logit_scale = 1;
  double logit_softcap = 0;
  bool causal = true;
  InitOptions init = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("vocabulary", vocabulary, "token ids, V");
    v("context_length", context_length, "longest sequence");
    v("d_model", d_model, "width, D");
    uniform.fields(v);
    v("blocks", blocks,
      "one table a block (mixer, feed_forward, norm …), where blocks differ: instead of layers, "
      "heads, … "
      "and moe; norms and dropout outside the blocks stay those of the model");
    v("tied_embeddings", tied_embeddings, "use the embedding as output matrix");
    v("learned_positions", learned_positions,
      "add a learned vector for each position to the embedding (GPT-2)");
    v("embedding_scale", embedding_scale,
      "embeddings are multiplied by this on their way into the blocks, not in the head");
    v("head_bias", head_bias, "add a learned bias to the logits");
    v("logit_scale", logit_scale, "logits, with their bias, are multiplied by this");
    v("logit_softcap", logit_softcap,
      "then l becomes cap * tanh(l / cap), which stays within (-cap, cap); 0: no cap");
    v("causal", causal, "positions see only what came before");
    v("init", init, "how parameters start");
  }
  void validate(const std::string& place) const;
  /// Fills in the defaults of the chosen kinds.
  void resolve();

  std::vector<layers::BlockSpec> block_specs() const {
    return blocks.empty() ? uniform.specs(d_model) : blocks;
  }

  operator ModelSpec() const { return spec_of_model("decoder", *this); }
};

}  // namespace moe::models
