// NLLB-MoE (NLLB Team et al. 2022), as transformers keeps it: M2M-100 whose sparse layers give
// every token to two experts.
#include <cmath>

#include <moe/balance/kinds/switch.h>
#include <moe/balance/kinds/z_loss.h>
#include <moe/experts/kinds/ffn.h>
#include <moe/layers/cross_attention.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/encoder_decoder_family.h>
#include <moe/routing/kinds/topk.h>

namespace moe::models {

namespace nllb_moe {

/// Of every norm.
constexpr double kEpsilon = 1e-5;

std::string activation(const HfConfig& c) {
  return c.has("activation_function") ? activation_of(c, "activation_function") : "relu";
}

/// Experts take a share of all tokens of the call, or so many, in evaluation.
capacity::CapacityOptions room(const HfConfig& c) {
  capacity::CapacityOptions out;
  const double fraction = c.number("moe_eval_capacity_token_fraction", 1.0);
  const bool before = c.flag("normalize_router_prob_before_dropping", false),
             by_score = c.flag("batch_prioritized_routing", false);
  if (fraction >= 1) return out;  // room for every token
  if (fraction > 0)
    out.eval_fraction = fraction;
  else
    out.limit = c.size("expert_capacity");
  out.whole_call = true;
  out.order = by_score ? "score" : "choice";
  out.renormalise = !before;
  out.allow_future = true;
  return out;
}

layers::MoELayerOptions mixture(const HfConfig& c, int64_t d_ff) {
  TopKRouter router;
  router.bias = c.flag("router_bias", false);
  const double dropped = c.number("moe_token_dropout", 0.2);
  check(dropped >= 0 && dropped < 1, "models/nllb_moe",
        "expected moe_token_dropout in [0, 1), got ", dropped, ". Correct config.json.");
  router.scale = 1 - dropped;  // outputs that training drops in part
  SwitchLoss balance;
  balance.coefficient = c.number("router_aux_loss_coef", 0.001);
  ZLoss z_loss;
  z_loss.coefficient = c.number("router_z_loss_coef", 0.001);
  FfnExpert expert;
  expert.d_ff = d_ff;
  expert.activation = activation(c);
  expert.bias = true;
  layers::MoELayerOptions out;
  out.num_experts = c.size("num_experts", 128);
  out.top_k = 2;
  out.router = router;
  out.expert = expert;
  out.balance = {balance, z_loss};
  out.capacity = room(c);
  return out;
}

/// The blocks of the encoder or decoder.
std::vector<layers::BlockSpec> stack(const HfConfig& c, const std::string& which) {
  const int64_t d_ff = c.size(which + "_ffn_dim", 4096), step = c.count(which + "_sparse_step", 4);
  Attention attention;
  attention.heads = c.size(which + "_attention_heads", 16);
  attention.bias = attention.output_bias = true;
  attention.rope.kind = "none";
  Dense dense;
  dense.d_ff = d_ff;
  dense.form = "ffn";
  dense.activation = activation(c);
  dense.bias = true;
  layers::BlockSpec block;
  block.mixer = attention;
  block.feed_forward = dense;
  block.norm = "layernorm";
  block.norm_epsilon = kEpsilon;
  if (which == "decoder") {
    block.wiring = "cross";
    block.cross.heads = attention.heads;
    block.cross.bias = true;
  }
  auto out = repeat(c.size(which + "_layers", 12), block);
  for (size_t i = 0; i < out.size(); ++i)
    if (step > 0 && (static_cast<int64_t>(i) + 1) % step == 0)
      out[i].feed_forward = mixture(c, d_ff);
  return out;
}

EncoderDecoderOptions options(const HfConfig& c) {
  ignore_generation_keys(c);
  c.ignore({"activation_dropout", "attention_dropout", "decoder_layerdrop", "dropout",
            "encoder_layerdrop", "init_std",  // in training only
            "router_ignore_padding_tokens",   // padding never reaches a router here
            "num_hidden_layers",              // those of the encoder once more
            "router_type"});
  c.only("router_dtype", {"float32"}, "routers of another type");
  c.only("num_selected_experts", {2}, "other numbers of experts a token");
  c.only("second_expert_policy", {"all"}, "second experts that are drawn");
  EncoderDecoderOptions o;
  o.vocabulary = c.size("vocab_size", 128112);
  o.context_length = c.size("max_position_embeddings", 1024);
  o.d_model = c.size("d_model", 1024);
  o.encoder = stack(c, "encoder");
  o.decoder = stack(c, "decoder");
  o.norm = "layernorm";
  o.norm_epsilon = kEpsilon;
  o.positions = "sinusoidal";
  o.pad_id = c.count("pad_token_id", 1);
  o.embedding_scale =
      c.flag("scale_embedding", true) ? std::sqrt(static_cast<double>(o.d_model)) : 1;
  o.tied_embeddings = c.flag("tie_word_embeddings", true);
  o.decoder_start = c.count("decoder_start_token_id", 2);
  // Of models without sparse layers.
  c.ignore({"expert_capacity", "num_experts", "moe_token_dropout", "router_bias",
            "moe_eval_capacity_token_fraction", "normalize_router_prob_before_dropping",
            "batch_prioritized_routing", "router_aux_loss_coef", "router_z_loss_coef"});
  return o;
}

NameMap names(const EncoderDecoderOptions& o) {
  NameMap out = {ignored("model.*.embed_positions.weights")};
  add_ends(out, o, "model.shared.weight",
           {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"});
  for (const std::string stack : {"encoder", "decoder"}) {
    const std::string theirs = "model." + stack + ".layers.{i}.", ours = stack + ".{i}.";
    const std::string last = "model." + stack + ".layer_norm.";
    const auto add_norm = [&](const std::string& their_name, const std::string& our_name) {
      out.add(same(their_name + "weight", our_name + "scale"));
      out.add(same(their_name + "bias", our_name + "bias"));
    };
    const auto add_linear = [&](const std::string& their_name, const std::string& our_part,
                                const std::string& letter) {
      out.add(same(their_name + ".weight", our_part + ".w_" + letter));
      out.add(same(their_name + ".bias", our_part + ".b_" + letter));
    };
    add_norm(last, stack + "_norm.");
    add_norm(theirs + "self_attn_layer_norm.", ours + "attention_norm.");
    add_norm(theirs + "ff_layer_norm.", ours + "ffn_norm.");
    if (stack == "decoder") add_norm(theirs + "cross_attention_layer_norm.", ours + "cross_norm.");
    for (const auto& [name, letter] : std::vector<std::pair<std::string, std::string>>{
             {"q_proj", "q"}, {"k_proj", "k"}, {"v_proj", "v"}, {"out_proj", "o"}}) {
      add_linear(theirs + "self_attn." + name, ours + "attention", letter);
      if (stack == "decoder")
        add_linear(theirs + "cross_attention." + name, ours + "cross_attention", letter);
    }
    out.add(same(theirs + "ffn.router.classifier.weight", ours + "moe.router.weight"));
    out.add(same(theirs + "ffn.router.classifier.bias", ours + "moe.router.bias"));
    for (const auto& [name, place] : {std::pair{"fc1", "in"}, std::pair{"fc2", "out"}}) {
      const std::string expert = theirs + "ffn.experts.expert_{e}." + name;
      add_linear(theirs + "ffn." + name, ours + "dense", place);
      out.add(stacked(expert + ".weight", concat(ours, "moe.experts.w_", place)));
      out.add(stacked(expert + ".bias", concat(ours, "moe.experts.b_", place)));
    }
  }
  return out;
}

/// The hidden units of a stack's feed-forwards.
int64_t width_of(const std::vector<layers::BlockSpec>& blocks, int64_t d_model) {
  const auto& first = blocks.front().feed_forward;
  const int64_t d_ff = first.kind == "dense"
                           ? kind_options<Dense>(first).d_ff
                           : kind_options<layers::MoELayerOptions>(first).expert.d_ff;
  return d_ff > 0 ? d_ff : 4 * d_model;
}

std::string activation_of_block(const layers::BlockSpec& block) {
  if (block.feed_forward.kind == "dense") {
    auto dense = kind_options<Dense>(block.feed_forward);
    dense.resolve();
    return dense.activation;
  }
  const auto mixture = kind_options<layers::MoELayerOptions>(block.feed_forward);
  return kind_options<FfnExpert>(mixture.expert).activation;
}

Table config(const EncoderDecoderOptions& o) {
  Table out =
      table_of({{"architectures", Array{"NllbMoeForConditionalGeneration"}},
                {"model_type", "nllb-moe"},
                {"is_encoder_decoder", true},
                {"vocab_size", o.vocabulary},
                {"max_position_embeddings", o.context_length},
                {"d_model", o.d_model},
                {"activation_function", hf_activation(activation_of_block(o.encoder.front()))},
                {"scale_embedding", o.embedding_scale != 1},
                {"pad_token_id", o.pad_id},
                {"decoder_start_token_id", o.decoder_start},
                {"second_expert_policy", "all"},
                {"tie_word_embeddings", o.tied_embeddings}});
  for (const std::string which : {"encoder", "decoder"}) {
    const auto& blocks = which == "encoder" ? o.encoder : o.decoder;
    const auto sparse = routing_of(blocks);
    out.set(which + "_layers", static_cast<int64_t>(blocks.size()));
    out.set(which + "_attention_heads", kind_options<Attention>(blocks.front().mixer).heads);
    out.set(which + "_ffn_dim", width_of(blocks, o.d_model));
    out.set(which + "_sparse_step", sparse.empty() ? int64_t{0} : sparse.front() + 1);
  }
  const auto* const sparse = first_with(o, "moe");
  if (!sparse) return out;
  const auto mixture = kind_options<layers::MoELayerOptions>(sparse->feed_forward);
  const auto router = kind_options<TopKRouter>(mixture.router);
  const auto& capacity = mixture.capacity;
  out.set("num_experts", mixture.num_experts);
  out.set("router_bias", router.bias);
  out.set("router_dtype", "float32");
  out.set("moe_token_dropout", 1 - router.scale);
  out.set("moe_eval_capacity_token_fraction", capacity.eval_fraction > 0 ? capacity.eval_fraction
                                              : capacity.limit > 0       ? 0.0
                                                                         : 1.0);
  if (capacity.limit > 0) out.set("expert_capacity", capacity.limit);
  out.set("normalize_router_prob_before_dropping",
          capacity.limits(/*training=*/false) && !capacity.renormalise);
  out.set("batch_prioritized_routing", capacity.order == "score");
  out.set("router_aux_loss_coef", coefficient_of(mixture.balance, "switch"));
  out.set("router_z_loss_coef", coefficient_of(mixture.balance, "z_loss"));
  return out;
}

}  // namespace nllb_moe

MOE_FAMILY(nllb_moe, "nllb-moe")

}  // namespace moe::models
