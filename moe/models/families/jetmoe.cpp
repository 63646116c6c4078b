// JetMoE (Shen et al. 2024), as transformers keeps it: attention and feed-forward both choose
// experts.
#include <moe/balance/kinds/switch.h>
#include <moe/experts/kinds/gated.h>
#include <moe/layers/mixers/routed_attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/decoder_family.h>
#include <moe/models/hf_rope.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace jetmoe {

/// Of the blocks, whatever config.json says of the last norm.
constexpr double kBlockEpsilon = 1e-6;

/// A size under its name in transformers, or in the files of its authors.
int64_t size_of(const HfConfig& c, const char* key, const char* authors_key, int64_t fallback) {
  return c.size(key, c.size(authors_key, fallback));
}

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attention_dropout",      // in training only
            "num_attention_heads"});  // those of the keys, times experts a token
  for (const char* key : {"bias", "glu"}) c.only(key, {true}, "experts of another form");
  const int64_t experts = size_of(c, "num_local_experts", "moe_num_experts", 8),
                top_k = size_of(c, "num_experts_per_tok", "moe_top_k", 2);
  RoutedAttention attention;
  attention.num_experts = experts;
  attention.top_k = top_k;
  attention.router = TopKRouter{};
  attention.kv_heads = c.size("num_key_value_heads", 16);
  attention.head_dim = c.size("kv_channels", 128);
  attention.rope = rope_of(c, 10000);
  attention.output_bias = true;
  GatedExpert expert;
  expert.d_ff = size_of(c, "intermediate_size", "ffn_hidden_size", 5632);
  expert.activation = activation_of(c, "activation_function");
  SwitchLoss balance;
  balance.coefficient = c.number("aux_loss_coef", 0.01);
  layers::MoELayerOptions mixture;
  mixture.num_experts = experts;
  mixture.top_k = top_k;
  mixture.router = TopKRouter{};
  mixture.expert = expert;
  mixture.balance = {balance};
  mixture.output_bias = true;
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = mixture;
  block.norm_epsilon = kBlockEpsilon;
  DecoderOptions o;
  o.vocabulary = c.size("vocab_size", 32000);
  o.d_model = c.size("hidden_size", 2048);
  o.context_length = c.size("max_position_embeddings", 4096);
  o.uniform.norm_epsilon = c.number("rms_norm_eps", 1e-6);
  o.blocks = repeat(size_of(c, "num_hidden_layers", "num_layers", 12), block);
  o.tied_embeddings = c.flag("tie_word_embeddings", true);
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  const std::string heads = theirs + "self_attention.experts.",
                    attention = ours + "routed_attention.";
  return {
      same("model.embed_tokens.weight", "embedding"),
      same(theirs + "input_layernorm.weight", ours + "routed_attention_norm.scale"),
      fused(theirs + "self_attention.kv_proj.weight", {{attention + "w_k"}, {attention + "w_v"}}),
      same(heads + "router.layer.weight", attention + "router.weight"),
      same(heads + "input_linear.weight", attention + "w_q"),
      same(heads + "output_linear.weight", attention + "w_o"),
      same(heads + "bias", attention + "b_o"),
      same(theirs + "post_attention_layernorm.weight", ours + "ffn_norm.scale"),
      same(theirs + "mlp.router.layer.weight", ours + "moe.router.weight"),
      same(theirs + "mlp.input_linear.weight", ours + "moe.experts.w_in"),
      same(theirs + "mlp.output_linear.weight", ours + "moe.experts.w_out"),
      same(theirs + "mlp.bias", ours + "moe.b_out"),
      same("model.norm.weight", "norm.scale"),
      o.tied_embeddings ? tied("lm_head.weight", "embedding") : same("lm_head.weight", "head")};
}

Table config(const DecoderOptions& o) {
  const auto blocks = o.block_specs();
  const auto attention = kind_options<RoutedAttention>(blocks.front().mixer);
  const auto mixture = kind_options<layers::MoELayerOptions>(blocks.front().feed_forward);
  const bool balanced = !mixture.balance.empty() && mixture.balance.front().kind == "switch";
  const int64_t heads = attention.top_k * attention.kv_heads;
  Table out = table_of(
      {{"architectures", Array{"JetMoeForCausalLM"}},
       {"model_type", "jetmoe"},
       {"vocab_size", o.vocabulary},
       {"hidden_size", o.d_model},
       {"num_hidden_layers", static_cast<int64_t>(blocks.size())},
       {"num_attention_heads", heads},
       {"num_key_value_heads", attention.kv_heads},
       {"kv_channels", attention.head_dim > 0 ? attention.head_dim : o.d_model / heads},
       {"num_local_experts", mixture.num_experts},
       {"num_experts_per_tok", mixture.top_k},
       {"intermediate_size", mixture.expert.d_ff > 0 ? mixture.expert.d_ff : 4 * o.d_model},
       {"activation_function", hf_activation(kind_options<GatedExpert>(mixture.expert).activation)},
       {"aux_loss_coef", balanced ? mixture.balance.front().coefficient : 0.0},
       {"rms_norm_eps", o.uniform.norm_epsilon},
       {"max_position_embeddings", o.context_length},
       {"tie_word_embeddings", o.tied_embeddings}});
  write_rope(out, attention.rope);
  return out;
}

}  // namespace jetmoe

MOE_FAMILY(jetmoe)

}  // namespace moe::models
