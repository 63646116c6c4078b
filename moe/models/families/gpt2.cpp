// GPT-2 (Radford et al. 2019), as transformers keeps it: learned positions, biases everywhere, and
// weights stored (inputs, outputs).
#include <cmath>

#include <moe/models/llama_family.h>

namespace moe::models {

namespace gpt2 {

DecoderOptions options(const HfConfig& c) {
  c.ignore({"attn_pdrop", "embd_pdrop", "gradient_checkpointing", "n_ctx",
            "reorder_and_upcast_attn", "resid_pdrop", "summary_*"});
  c.only("add_cross_attention", {false}, "attention to another text");
  Attention attention;
  attention.heads = size_of(c, {"n_head", "num_attention_heads"});
  attention.bias = attention.output_bias = true;
  attention.rope.kind = "none";
  DecoderOptions o;
  o.vocabulary = c.size("vocab_size");
  o.d_model = size_of(c, {"n_embd", "hidden_size"});
  o.context_length = size_of(c, {"n_positions", "max_position_embeddings"});
  o.learned_positions = true;
  o.tied_embeddings = c.flag("tie_word_embeddings", true);
  Dense dense;
  dense.form = "ffn";
  dense.bias = true;
  dense.d_ff = c.size("n_inner", 4 * o.d_model);
  dense.activation =
      c.has("activation_function") ? activation_of(c, "activation_function") : "gelu_tanh";
  layers::BlockSpec block;
  block.feed_forward = dense;
  block.norm = o.uniform.norm = "layernorm";
  block.norm_epsilon = o.uniform.norm_epsilon = c.number("layer_norm_epsilon", 1e-5);
  o.blocks = repeat(size_of(c, {"n_layer", "num_hidden_layers"}), block);
  const bool by_width = c.flag("scale_attn_weights", true),
             by_layer = c.flag("scale_attn_by_inverse_layer_idx", false);
  const double width = static_cast<double>(o.d_model) / static_cast<double>(attention.heads);
  for (size_t i = 0; i < o.blocks.size(); ++i) {
    if (!by_width || by_layer)
      attention.scale =
          (by_width ? 1 / std::sqrt(width) : 1.0) / (by_layer ? static_cast<double>(i + 1) : 1.0);
    o.blocks[i].mixer = attention;
  }
  return o;
}

NameMap names(const DecoderOptions& o) {
  const std::string theirs = "transformer.h.{i}.", ours = "layers.{i}.", fuse = ours + "attention.";
  NameMap out = {
      same("transformer.wte.weight", "embedding"),
      same("transformer.wpe.weight", "positions"),
      same("transformer.ln_f.weight", "norm.scale"),
      same("transformer.ln_f.bias", "norm.bias"),
      transposed(
          fused(theirs + "attn.c_attn.weight", {{fuse + "w_q"}, {fuse + "w_k"}, {fuse + "w_v"}})),
      fused(theirs + "attn.c_attn.bias", {{fuse + "b_q"}, {fuse + "b_k"}, {fuse + "b_v"}}),
      ignored("transformer.h.*.attn.bias"),  // the causal mask
      ignored("transformer.h.*.attn.masked_bias")};
  const auto add = [&](const std::string& name, const std::string& weight, const std::string& bias,
                       bool turned) {
    const NameRule rule = same(theirs + name + ".weight", ours + weight);
    out.add(turned ? transposed(rule) : rule);
    out.add(same(theirs + name + ".bias", ours + bias));
  };
  add("ln_1", "attention_norm.scale", "attention_norm.bias", false);
  add("ln_2", "ffn_norm.scale", "ffn_norm.bias", false);
  add("attn.c_proj", "attention.w_o", "attention.b_o", true);
  add("mlp.c_fc", "dense.w_in", "dense.b_in", true);
  add("mlp.c_proj", "dense.w_out", "dense.b_out", true);
  out.add(o.tied_embeddings ? tied("lm_head.weight", "embedding") : same("lm_head.weight", "head"));
  out.prefix("transformer.", "");  // the first checkpoints
  return out;
}

Table config(const DecoderOptions& o) {
  const auto blocks = o.block_specs();
  const auto attention = kind_options<Attention>(blocks.front().mixer);
  const auto dense = kind_options<Dense>(blocks.front().feed_forward);
  const bool by_layer =
      blocks.size() > 1 && kind_options<Attention>(blocks[1].mixer).scale != attention.scale;
  return table_of({{"architectures", Array{"GPT2LMHeadModel"}},
                   {"model_type", "gpt2"},
                   {"vocab_size", o.vocabulary},
                   {"n_embd", o.d_model},
                   {"n_layer", static_cast<int64_t>(blocks.size())},
                   {"n_head", attention.heads},
                   {"n_positions", o.context_length},
                   {"n_inner", dense.d_ff > 0 ? dense.d_ff : 4 * o.d_model},
                   {"activation_function", hf_activation(dense.activation)},
                   {"layer_norm_epsilon", blocks.front().norm_epsilon},
                   {"scale_attn_weights", attention.scale != 1},
                   {"scale_attn_by_inverse_layer_idx", by_layer},
                   {"tie_word_embeddings", o.tied_embeddings}});
}

}  // namespace gpt2

MOE_FAMILY(gpt2)

}  // namespace moe::models
