#include <cmath>

#include <moe/base/error.h>
#include <moe/models/latent_family.h>

namespace moe::models {

namespace {

constexpr const char *kDenseLayer = "dense", *kSparseLayer = "sparse";

/// Rotary positions of the rope_dim numbers, all of which turn: a share says how many of a whole
/// head's these are.
Rope rope_of_latents(const HfConfig& c, const LatentAttention& attention, double theta) {
  Rope out = rope_of(c, theta);
  const auto turning = static_cast<double>(attention.rope_dim);
  const double share = turning / (turning + static_cast<double>(attention.nope_dim));
  check(std::abs(out.share - 1) < 1e-6 || std::abs(out.share - share) < 1e-6, "models/config.json",
        "expected 'partial_rotary_factor' of 1 or qk_rope_head_dim / "
        "qk_head_dim = ",
        share, " in ", c.source(), ", got ", out.share, ". Correct the file.");
  out.share = 1;
  out.kind = c.flag("rope_interleave", true) ? "interleaved" : "halves";
  return out;
}

}  // namespace

LatentAttention latent_attention_of(const HfConfig& c, double theta) {
  LatentAttention out;
  out.heads = c.size("num_attention_heads");
  out.q_rank = c.count("q_lora_rank", 0);
  out.kv_rank = c.size("kv_lora_rank");
  out.nope_dim = c.size("qk_nope_head_dim");
  out.rope_dim = c.size("qk_rope_head_dim");
  out.value_dim = c.size("v_head_dim");
  out.bias = c.flag("attention_bias", false);
  out.rope = rope_of_latents(c, out, theta);
  c.only("qk_head_dim", {out.nope_dim + out.rope_dim}, "other widths than those of its parts");
  // What head_dim is differs between versions: the widths above say all.
  c.ignore({"head_dim", "num_key_value_heads"});
  return out;
}

layers::MoELayerOptions sigmoid_mixture_of(const HfConfig& c, const SigmoidDefaults& absent) {
  if (c.has("n_routed_experts")) return mixture_of(c, sigmoid_router_of(c, absent), 1);
  c.ignore({"moe_intermediate_size", "n_group", "n_shared_experts", "norm_topk_prob",
            "num_experts_per_tok", "routed_scaling_factor", "scoring_func", "topk_group",
            "topk_method"});
  layers::MoELayerOptions none;
  none.num_experts = 0;
  return none;
}

LatentAttention sparse_attention_of(const HfConfig& c) {
  c.size("q_lora_rank");  // which the indexer reads
  c.only("rope_interleave", {true}, "another rotation");
  c.only("mlp_bias", {false}, "biases of feed-forwards");
  // Two names of one kind.
  c.texts("layer_types", c.size("num_hidden_layers"),
          {"deepseek_sparse_attention", "indexed_attention"});
  return latent_attention_of(c, 10000);
}

Indexer indexer_of(const HfConfig& c, bool interleaved) {
  Indexer out;
  out.heads = c.size("index_n_heads");
  out.head_dim = c.size("index_head_dim");
  out.top_k = c.size("index_topk");
  out.rope_kind = c.flag("indexer_rope_interleave", interleaved) ? "interleaved" : "halves";
  return out;
}

DecoderOptions latent_decoder(const HfConfig& c, const LatentAttention& attention,
                              const layers::MoELayerOptions& mixture, int64_t dense,
                              double epsilon) {
  ignore_training(c);
  c.ignore({"num_nextn_predict_layers", "num_mtp_layers"});  // layers behind the model's own
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_epsilon = c.number("rms_norm_eps", epsilon);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, o.context_length);
  const auto layers = static_cast<int64_t>(o.blocks.size());
  const auto kinds = c.texts("mlp_layer_types", layers, {kDenseLayer, kSparseLayer});
  const int64_t first = c.count("first_k_dense_replace", dense),
                every = c.size("moe_layer_freq", 1);
  for (int64_t i = 0; i < layers; ++i) {
    const auto at = static_cast<size_t>(i);
    const bool sparse = mixture.num_experts > 0 &&
                        (kinds.empty() ? i >= first && i % every == 0 : kinds[at] == kSparseLayer);
    if (!sparse) o.blocks[at].feed_forward = dense_of(c, c.size("intermediate_size"));
  }
  c.ignore({"intermediate_size"});  // without dense layers
  return o;
}

void write_latent_attention(Table& out, const LatentAttention& attention) {
  out.set("num_attention_heads", attention.heads);
  out.set("num_key_value_heads", attention.heads);
  out.set("q_lora_rank", attention.q_rank > 0 ? Value(attention.q_rank) : Value());
  out.set("kv_lora_rank", attention.kv_rank);
  out.set("qk_nope_head_dim", attention.nope_dim);
  out.set("qk_rope_head_dim", attention.rope_dim);
  out.set("v_head_dim", attention.value_dim);
  out.set("attention_bias", attention.bias);
  out.set("rope_interleave", attention.rope.kind == "interleaved");
  write_rope(out, attention.rope);
}

void write_indexer(Table& out, const Indexer& indexer) {
  out.set("index_n_heads", indexer.heads);
  out.set("index_head_dim", indexer.head_dim);
  out.set("index_topk", indexer.top_k);
  out.set("indexer_rope_interleave", indexer.rope_kind == "interleaved");
}

Table latent_config(const DecoderOptions& o, const char* architecture, const char* model_type) {
  const auto blocks = o.block_specs();
  const auto attention = kind_options<LatentAttention>(blocks.front().mixer);
  Table out =
      table_of({{"architectures", Array{architecture}},
                {"model_type", model_type},
                {"vocab_size", o.vocabulary},
                {"hidden_size", o.d_model},
                {"num_hidden_layers", static_cast<int64_t>(blocks.size())},
                {"rms_norm_eps", blocks.front().norm_epsilon},
                {"max_position_embeddings", positions_in_config(attention.rope, o.context_length)},
                {"tie_word_embeddings", o.tied_embeddings}});
  write_latent_attention(out, attention);
  return out;
}

void write_latent_mixture(Table& out, const DecoderParts& parts) {
  if (parts.dense_prefix() < parts.layers())
    write_mixture(out, parts);
  else
    out.set("hidden_act", hf_activation(parts.dense.activation));
  out.set("intermediate_size", parts.dense.d_ff);
  out.set("first_k_dense_replace", parts.dense_prefix());
  Array kinds;
  for (const bool sparse : parts.sparse) kinds.emplace_back(sparse ? kSparseLayer : kDenseLayer);
  out.set("mlp_layer_types", std::move(kinds));
  out.set("num_nextn_predict_layers", 0);
}

void write_sigmoid_mixture(Table& out, const DecoderParts& parts) {
  write_latent_mixture(out, parts);
  if (parts.dense_prefix() < parts.layers()) write_sigmoid_router(out, parts.mixture);
}

Table sparse_config(const DecoderOptions& o, const char* architecture, const char* model_type) {
  const DecoderParts parts(o);
  Table out = latent_config(o, architecture, model_type);
  write_indexer(out, kind_options<LatentAttention>(parts.blocks.front().mixer).indexer);
  write_sigmoid_mixture(out, parts);
  return out;
}

void add_latent_attention(NameMap& map, const std::string& theirs, const std::string& ours) {
  for (const auto& [their, our] :
       {std::pair{"q_proj.weight", "w_q"}, std::pair{"q_a_proj.weight", "w_q_a"},
        std::pair{"q_a_proj.bias", "b_q_a"}, std::pair{"q_a_layernorm.weight", "q_norm.scale"},
        std::pair{"q_b_proj.weight", "w_q_b"}, std::pair{"kv_a_proj_with_mqa.weight", "w_kv_a"},
        std::pair{"kv_a_proj_with_mqa.bias", "b_kv_a"},
        std::pair{"kv_a_layernorm.weight", "kv_norm.scale"},
        std::pair{"kv_b_proj.weight", "w_kv_b"}, std::pair{"o_proj.weight", "w_o"},
        std::pair{"o_proj.bias", "b_o"}, std::pair{"indexer.wq_b.weight", "indexer.w_q"},
        std::pair{"indexer.wk.weight", "indexer.w_k"},
        std::pair{"indexer.k_norm.weight", "indexer.k_norm.scale"},
        std::pair{"indexer.k_norm.bias", "indexer.k_norm.bias"},
        std::pair{"indexer.weights_proj.weight", "indexer.w_weights"}})
    map.add(same(theirs + their, ours + our));
}

NameMap latent_names(const DecoderOptions& options, bool stacked) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  NameMap out = {same("model.embed_tokens.weight", "embedding"),
                 same(theirs + "input_layernorm.weight", ours + "latent_attention_norm.scale"),
                 same(theirs + "post_attention_layernorm.weight", ours + "ffn_norm.scale"),
                 same("model.norm.weight", "norm.scale"),
                 ignored("model.layers.*.self_attn.rotary_emb.inv_freq"),
                 options.tied_embeddings ? tied("lm_head.weight", "embedding")
                                         : same("lm_head.weight", "head")};
  add_latent_attention(out, theirs + "self_attn.", ours + "latent_attention.");
  add_deepseek_mixture(out, stacked);
  skip_prediction_layers(out, static_cast<int64_t>(options.block_specs().size()));
  return out;
}

}  // namespace moe::models
