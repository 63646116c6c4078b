#pragma once
// What families with DeepSeek's latent attention say in the same words: keys of config.json, both
// ways, and names of tensors.

#include <string>

#include <moe/layers/mixers/latent_attention.h>
#include <moe/models/decoder_family.h>
#include <moe/models/moe_family.h>

namespace moe::models {

// From config.json.

/// Heads, ranks and widths, biases and rotary positions, whose numbers turn in pairs unless
/// rope_interleave is false; `theta` where config.json has none.
LatentAttention latent_attention_of(const HfConfig& c, double theta);
/// The same of a model of sparse attention, whose rotation is always in pairs and whose
/// feed-forwards have no biases.
LatentAttention sparse_attention_of(const HfConfig& c);
/// The indexer of index_n_heads, index_head_dim and index_topk.
Indexer indexer_of(const HfConfig& c, bool interleaved);
/// DeepSeek-V3's experts with a shared one where n_shared_experts is absent; none where
/// n_routed_experts is.
layers::MoELayerOptions sigmoid_mixture_of(const HfConfig& c, const SigmoidDefaults& absent);
/// Blocks of `attention` with `mixture`, or with a dense feed-forward of intermediate_size where
/// mlp_layer_types says so, or else in the first first_k_dense_replace layers (`dense` where
/// absent) and between every moe_layer_freq-th. `epsilon`: rms_norm_eps where absent.
DecoderOptions latent_decoder(const HfConfig& c, const LatentAttention& attention,
                              const layers::MoELayerOptions& mixture, int64_t dense,
                              double epsilon);

// To config.json.

/// All but feed-forwards, of the first block.
Table latent_config(const DecoderOptions& options, const char* architecture,
                    const char* model_type);
void write_latent_attention(Table& config, const LatentAttention& attention);
void write_indexer(Table& config, const Indexer& indexer);
/// A whole model of sparse attention with DeepSeek-V3's experts, whose first layer has an indexer.
Table sparse_config(const DecoderOptions& options, const char* architecture,
                    const char* model_type);
/// Dense and sparse layers in both dialects, their experts and the width of dense ones.
void write_latent_mixture(Table& config, const DecoderParts& parts);
/// The same with DeepSeek-V3's experts.
void write_sigmoid_mixture(Table& config, const DecoderParts& parts);

// Names.

/// Names of one latent attention, with an indexer where it has one: theirs + "q_a_proj.weight",
/// ours + "w_q_a", …; both with their last dot.
void add_latent_attention(NameMap& map, const std::string& theirs, const std::string& ours);
/// Embedding, norms, attention and head of sequential blocks, DeepSeek's names of feed-forwards,
/// with experts published one by one or `stacked`; layers behind the model's that predict further
/// tokens are passed over.
NameMap latent_names(const DecoderOptions& options, bool stacked = false);

}  // namespace moe::models
