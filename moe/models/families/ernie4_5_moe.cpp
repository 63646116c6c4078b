// ERNIE 4.5 (Baidu 2025), as transformers keeps it: softmax scores with a selection bias.
#include <moe/models/moe_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace ernie4_5_moe {

DecoderOptions options(const HfConfig& c) {
  ignore_training(c);
  c.ignore({"moe_aux_loss_lambda", "moe_capacity", "moe_orthogonal_loss_lambda",
            "moe_z_loss_lambda", "num_nextn_predict_layers", "attention_probs_dropout_prob",
            "hidden_dropout_prob", "use_flash_attention", "use_fused_*", "fuse_*"});
  c.only("moe_gate", {"topk"}, "another rule of selection");
  c.only("moe_use_aux_free", {true}, "selection without a bias");
  c.only("use_rmsnorm", {true}, "another norm");
  c.only("compression_ratio", {1}, "positions closer together");
  const bool bias = c.flag("use_bias", false);
  Attention attention = llama_attention(c, 500000);
  attention.rope.kind = "interleaved";
  attention.bias = attention.output_bias = bias;
  TopKRouter router;
  router.selection_bias = true;
  router.least_sum = c.number("moe_norm_min", 1e-12);
  const int64_t width = c.size("moe_intermediate_size");
  layers::MoELayerOptions mixture;
  mixture.num_experts = c.size("moe_num_experts", 64);
  mixture.top_k = c.size("moe_k", 6);
  mixture.router = router;
  mixture.expert = expert_of(c, width);
  mixture.balance = balance_of(c);
  Dense dense = dense_of(c, c.count("moe_num_shared_experts", 2) * width);
  dense.bias = bias;
  if (dense.d_ff > 0) mixture.shared = dense;
  dense.d_ff = c.size("intermediate_size");
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = dense;
  block.norm_epsilon = c.number("rms_norm_eps", 1e-5);
  DecoderOptions o = llama_decoder(c, block);
  o.context_length = context_length_of(c, attention.rope, 131072);
  o.tied_embeddings = c.flag("tie_word_embeddings", true);
  o.head_bias = bias;
  const auto layers = static_cast<int64_t>(o.blocks.size());
  const int64_t first = c.count("moe_layer_start_index", 1),
                every = c.size("moe_layer_interval", 1);
  const double end = c.number("moe_layer_end_index", -1);  // -1: the last
  const int64_t last = end < 0 ? layers - 1 : c.count("moe_layer_end_index", 0);
  for (int64_t i = first; i <= last && i < layers; ++i)
    if ((i + 1) % every == 0) o.blocks[static_cast<size_t>(i)].feed_forward = mixture;
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "model.layers.{i}.mlp.", ours = "layers.{i}.moe.";
  const std::string bias = "moe_statics.e_score_correction_bias";
  NameMap out = llama_names(o);
  out.add(same("lm_head.bias", "head_bias"));
  add_gate(out, theirs, ours);
  out.add(arranged(same(theirs + bias, ours + "router.selection_bias"), with_ones({0})));
  out.otherwise(
      {arranged(same(theirs + "gate." + bias, ours + "router.selection_bias"), with_ones({0}))});
  add_named_experts(out, theirs, ours);
  add_dense(out, theirs + "shared_experts.", ours + "shared.");
  add_dense(out, theirs, "layers.{i}.dense.");
  for (const char* mtp : {"model.mtp_*", "mtp_*", "model.mtp.*", "mtp.*"}) out.add(ignored(mtp));
  return out;
}

Table config(const DecoderOptions& o) {
  const DecoderParts parts(o);
  Table out = llama_config(o, "Ernie4_5_MoeForCausalLM", "ernie4_5_moe");
  out.set("use_bias", parts.attention(0).bias);
  out.set("intermediate_size", parts.dense.d_ff);
  out.set("moe_intermediate_size", parts.expert.d_ff);
  out.set("moe_num_experts", parts.mixture.num_experts);
  out.set("moe_k", parts.mixture.top_k);
  out.set("moe_num_shared_experts", parts.shared_count());
  out.set("moe_norm_min", kind_options<TopKRouter>(parts.mixture.router).least_sum);
  out.set("router_aux_loss_coef", balance_coefficient(parts.mixture));
  out.set("hidden_act", hf_activation(parts.expert.activation));
  // Experts where i + 1 is a multiple of the interval, from the first such layer to the last.
  const int64_t first = parts.dense_prefix(), last = parts.last_sparse();
  out.set("moe_layer_start_index", first);
  out.set("moe_layer_end_index", last);
  out.set("moe_layer_interval", parts.sparse_step());
  return out;
}

}  // namespace ernie4_5_moe

MOE_FAMILY(ernie4_5_moe)

}  // namespace moe::models
