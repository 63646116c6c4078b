// Snowflake Arctic (2024), as its own code computes it: a dense residual block behind the
// attention, beside experts that read the stream before it.
#include <moe/models/moe_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace arctic {

constexpr const char* kBeside = "dense_beside";

/// Whether layers with experts have a dense block beside them: parallel_attn_mlp_res says so in the
/// authors' code, use_residual in that of others.
bool has_residual_block(const HfConfig& c) {
  const char *theirs = "parallel_attn_mlp_res", *others = "use_residual";
  const bool out = c.flag(theirs, c.flag(others, false));
  check(c.flag(others, out) == out, "models/config.json", "expected '", theirs, "' and '", others,
        "' in ", c.source(), " to agree, got ", out, " and ", !out, ". Correct the file.");
  return out;
}

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"enable_expert_tensor_parallelism", "enc_index", "max_sequence_length",
            "moe_eval_capacity_factor", "moe_min_capacity", "moe_token_dropping",
            "moe_train_capacity_factor"});
  Attention attention = llama_attention(c, 1e6);
  attention.window = c.size("sliding_window", 0);
  TopKRouter router;
  layers::MoELayerOptions mixture;
  mixture.num_experts = c.size("num_local_experts", 8);
  mixture.top_k = c.size("num_experts_per_tok", 1);
  router.renormalise = mixture.top_k > 1;
  mixture.router = router;
  mixture.expert = expert_of(c, c.size("intermediate_size"));
  mixture.balance = balance_of(c);
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = dense_of(c, c.size("intermediate_size"));
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = c.size("max_position_embeddings", 4096);
  const auto every = static_cast<size_t>(c.size("moe_layer_frequency", 2));
  for (size_t i = every - 1; i < o.blocks.size(); i += every) {
    o.blocks[i].feed_forward = mixture;
    if (!has_residual_block(c)) continue;
    o.blocks[i].wiring = kBeside;
    o.blocks[i].dense = dense_of(c, o.d_model);
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  const std::string mixture = theirs + "block_sparse_moe.", residual = theirs + "residual_";
  NameMap out = llama_names(o);
  add_gate(out, mixture, ours + "moe.");
  add_numbered_experts(out, mixture, ours + "moe.");
  // Our child "dense" is the residual block of layers with experts, or the only one of others.
  const auto blocks = o.block_specs();
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string layer = concat("model.layers.", i, '.');
    const bool sparse = blocks[i].feed_forward.kind == "moe";
    add_numbered_dense(out, layer + (sparse ? "residual_mlp." : "block_sparse_moe.mlp."),
                       concat("layers.", i, ".dense."));
  }
  out.add(same(residual + "layernorm.weight", ours + "dense_norm.scale"));
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = llama_config(o, "ArcticForCausalLM", "arctic");
  const auto sparse = static_cast<size_t>(parts.dense_prefix());
  const bool beside = sparse < parts.blocks.size() && parts.blocks[sparse].wiring == kBeside;
  out.set("sliding_window",
          parts.attention(0).window > 0 ? Value(parts.attention(0).window) : Value());
  out.set("intermediate_size", parts.expert.d_ff);
  out.set("num_local_experts", parts.mixture.num_experts);
  out.set("num_experts_per_tok", parts.mixture.top_k);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(parts.expert.activation));
  out.set("moe_layer_frequency", parts.dense_prefix() + 1);
  out.set("parallel_attn_mlp_res", beside);
  return out;
}

}  // namespace arctic

MOE_FAMILY(arctic)

}  // namespace moe::models
