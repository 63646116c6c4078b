#pragma once
// What families of Llama's shape, dense or with experts, say in the same words.

#include <string>
#include <vector>

#include <moe/models/moe_family.h>

namespace moe::models {

// From config.json.

/// sliding_window: none where it is null, `otherwise` where it is absent.
int64_t window_of(const HfConfig& c, int64_t otherwise);
/// The windows of Qwen2 and Qwen3: of the layers that layer_types calls sliding, or else of those
/// from max_window_layers on; none unless use_sliding_window says so.
void read_qwen_windows(DecoderOptions& o, const HfConfig& c);
/// num_experts or num_local_experts.
int64_t experts_of(const HfConfig& c);
/// The first of `keys` that is there, as a size.
int64_t size_of(const HfConfig& c, const std::vector<const char*>& keys);
/// norm_topk_prob (false where absent): softmax over all experts, whose chosen weights are
/// renormalised or not.
RouterSpec softmax_router_of(const HfConfig& c);
/// Makes the layers dense that have no experts by decoder_sparse_step and mlp_only_layers (Qwen).
void read_dense_layers(DecoderOptions& o, const HfConfig& c);
/// OLMoE's attention, with norms of whole queries and keys, and experts.
DecoderOptions olmo_decoder(const HfConfig& c, double rope_theta, double norm_epsilon);

// To config.json.

void write_window(Table& config, const Attention& attention);
void write_qwen_windows(Table& config, const DecoderParts& parts);
/// decoder_sparse_step and mlp_only_layers; and what experts and dense layers are wide.
void write_sparse_layers(Table& config, const DecoderParts& parts);
/// num_experts, num_experts_per_tok, norm_topk_prob, router_aux_loss_coef and hidden_act.
void write_softmax_mixture(Table& config, const DecoderParts& parts, const char* experts_key);
Table olmo_config(const DecoderOptions& o, const char* architecture, const char* model_type);
/// llama_config with the feed-forward of the first block, which is dense.
Table dense_llama_config(const DecoderOptions& o, const char* architecture, const char* model_type);

// Names.

/// llama_names with the feed-forwards of dense layers.
NameMap dense_llama_names(const DecoderOptions& o);

}  // namespace moe::models
