#pragma once
// What families of decoders have in common.

#include <vector>

#include <moe/config/differences.h>
#include <moe/layers/mixers/attention.h>
#include <moe/models/architectures/decoder.h>
#include <moe/models/family.h>

namespace moe::models {

/// `count` equal blocks. Throws moe::Error for more than a model may have.
std::vector<layers::BlockSpec> repeat(int64_t count, const layers::BlockSpec& block);

/// The block with everything said that could be left to a default, so that equal blocks of a stack
/// of this width are spelled alike.
layers::BlockSpec in_full(layers::BlockSpec block, int64_t d_model);

/// What `was` and `is` compute differently, in evaluation: how they start, dropout, balance and
/// limits on experts in training are passed over; equivalent spellings are equal.
std::vector<config::Difference> differences(const DecoderOptions& was, const DecoderOptions& is);

// What families that follow Llama say in the same words. A family adds its feed-forwards and what
// else is its own.

/// Heads and rotary positions; `rope_theta` and `kv_heads` (0: as many as heads) where config.json
/// has none.
Attention llama_attention(const HfConfig& c, double rope_theta, int64_t kv_heads = 0);
/// max_position_embeddings, `otherwise` where it is absent; dynamic scaling makes that factor times
/// as many, unless it is Hunyuan's, whose alpha does not depend on the length.
int64_t context_length_of(const HfConfig& c, const Rope& rope, int64_t otherwise);
/// The max_position_embeddings of a model with that context length.
int64_t positions_in_config(const Rope& rope, int64_t context_length);
/// As many of `block` as config.json says; its norm_epsilon is the final norm's too. Leaves the
/// context length at its default.
DecoderOptions llama_decoder(const HfConfig& c, const layers::BlockSpec& block);
/// Embedding, norms, attention and head. Those of biases pass over models without.
NameMap llama_names(const DecoderOptions& options);
/// config.json from the first block, but for its feed-forward.
Table llama_config(const DecoderOptions& options, const char* architecture, const char* model_type);

}  // namespace moe::models
