// Switch Transformers (Fedus et al. 2021), as transformers keeps them: T5 1.1 whose sparse layers
// give every token to one expert. Gated experts are those of the largest published ones.
#include <cmath>

#include <moe/balance/kinds/switch.h>
#include <moe/balance/kinds/z_loss.h>
#include <moe/experts/kinds/ffn.h>
#include <moe/experts/kinds/gated.h>
#include <moe/layers/cross_attention.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/encoder_decoder_family.h>
#include <moe/routing/kinds/switch.h>

namespace moe::models {

namespace switch_transformers {

/// Dense layers and experts have one form.
struct Form {
  bool gated = false;
  std::string activation;
  int64_t d_ff = 0;

  static Form of(const HfConfig& c) {
    c.only("feed_forward_proj", {"relu", "gated-gelu"}, "another feed-forward");
    const bool says_gated = c.text("feed_forward_proj", "relu") == "gated-gelu";
    Form out;
    out.gated = c.flag("is_gated_act", says_gated);
    out.activation = c.has("dense_act_fn") && !says_gated ? activation_of(c, "dense_act_fn")
                     : out.gated                          ? "gelu_tanh"
                                                          : "relu";
    if (says_gated) c.ignore({"dense_act_fn"});
    out.d_ff = c.size("d_ff", 2048);
    return out;
  }
  Dense dense() const {
    Dense out;
    out.d_ff = d_ff;
    out.form = gated ? "gated" : "ffn";
    out.activation = activation;
    return out;
  }
  ExpertSpec expert() const {
    if (gated) {
      GatedExpert out;
      out.d_ff = d_ff;
      out.activation = activation;
      return out;
    }
    FfnExpert out;
    out.d_ff = d_ff;
    out.activation = activation;
    return out;
  }
};

layers::MoELayerOptions mixture(const HfConfig& c, const Form& form) {
  SwitchRouter router;
  router.bias = c.flag("router_bias", false);
  router.jitter = c.number("router_jitter_noise", 0.01);
  SwitchLoss balance;
  balance.coefficient = c.number("router_aux_loss_coef", 0.001);
  ZLoss z_loss;
  z_loss.coefficient = c.number("router_z_loss_coef", 0.001);
  layers::MoELayerOptions out;
  out.num_experts = c.size("num_experts", 8);
  out.top_k = 1;
  out.router = router;
  out.expert = form.expert();
  out.balance = {balance, z_loss};
  out.capacity.limit = c.size("expert_capacity", 64);
  out.capacity.order = "token";
  return out;
}

/// The blocks of the encoder or decoder.
std::vector<layers::BlockSpec> stack(const HfConfig& c, const std::string& which, int64_t layers) {
  const Form form = Form::of(c);
  Attention attention;
  attention.heads = c.size("num_heads", 12);
  attention.head_dim = c.size("d_kv", 64);
  attention.scale = 1;
  attention.rope.kind = "none";
  attention.relative.buckets = c.size("relative_attention_num_buckets", 32);
  attention.relative.max_distance = c.size("relative_attention_max_distance", 128);
  layers::BlockSpec block;
  block.norm_epsilon = c.number("layer_norm_epsilon", 1e-6);
  if (which == "decoder") {
    block.wiring = "cross";
    block.cross.heads = attention.heads;
    block.cross.head_dim = attention.head_dim;
    block.cross.scale = 1;
  }
  // Without sparse layers the step is the number of layers, which leaves one: so it is published.
  const int64_t sparse = c.count("num_sparse_" + which + "_layers", 3),
                step = c.count(which + "_sparse_step", sparse > 0 ? layers / sparse : layers);
  auto out = repeat(layers, block);
  for (int64_t i = 0; i < layers; ++i) {
    auto& here = out[static_cast<size_t>(i)];
    attention.relative.shared = i > 0;
    here.mixer = attention;
    if (step > 0 && (step == 1 || i % step == 1))
      here.feed_forward = mixture(c, form);
    else
      here.feed_forward = form.dense();
  }
  return out;
}

EncoderDecoderOptions options(const HfConfig& c) {
  ignore_generation_keys(c);
  c.ignore({"dropout_rate", "classifier_dropout", "initializer_factor",  // in training only
            "router_ignore_padding_tokens",  // padding never reaches a router here
            "add_router_probs", "router_type"});
  c.only("router_dtype", {"float32"}, "routers of another type");
  c.only("num_selected_experts", {1}, "more experts a token");
  EncoderDecoderOptions o;
  o.vocabulary = c.size("vocab_size", 32128);
  o.context_length = c.size("n_positions", 512);
  o.d_model = c.size("d_model", 768);
  const int64_t layers = c.size("num_layers", 12);
  o.encoder = stack(c, "encoder", layers);
  o.decoder = stack(c, "decoder", c.size("num_decoder_layers", layers));
  o.norm_epsilon = c.number("layer_norm_epsilon", 1e-6);
  o.tied_embeddings = c.flag("tie_word_embeddings", true);
  o.logit_scale = o.tied_embeddings ? 1 / std::sqrt(static_cast<double>(o.d_model)) : 1;
  o.decoder_start = c.count("decoder_start_token_id", c.count("pad_token_id", 0));
  return o;
}

/// The feed-forward that is sublayer `number` of a block.
void add_feed_forward(NameMap& map, const std::string& stack, const std::string& number,
                      const Form& form) {
  const std::string theirs = stack + ".block.{i}.layer." + number + '.', ours = stack + ".{i}.",
                    mlp = theirs + "mlp.", expert = mlp + "experts.expert_{e}.";
  map.add(same(theirs + "layer_norm.weight", ours + "ffn_norm.scale"));
  map.add(same(mlp + "router.classifier.weight", ours + "moe.router.weight"));
  map.add(same(mlp + "router.classifier.bias", ours + "moe.router.bias"));
  map.add(same(mlp + "wo.weight", ours + "dense.w_out"));
  map.add(stacked(expert + "wo.weight", ours + "moe.experts.w_out"));
  if (!form.gated) {
    map.add(same(mlp + "wi.weight", ours + "dense.w_in"));
    map.add(stacked(expert + "wi.weight", ours + "moe.experts.w_in"));
    return;
  }
  for (const auto& [name, matrix] :
       {std::pair{"wi_0.weight", kGate}, std::pair{"wi_1.weight", kUp}}) {
    map.add(part(mlp + name, ours + "dense.w_in", matrix));
    map.add(stacked(expert + name, ours + "moe.experts.w_in", matrix));
  }
}

/// The form that a model's feed-forwards have.
Form form_of(const EncoderDecoderOptions& o) {
  if (const auto* const block = first_with(o, "dense")) {
    auto dense = kind_options<Dense>(block->feed_forward);
    dense.resolve();
    return {dense.form == "gated", dense.activation, dense.d_ff};
  }
  const auto mixture = kind_options<layers::MoELayerOptions>(o.encoder.front().feed_forward);
  const auto& expert = mixture.expert;
  if (expert.kind == "gated")
    return {true, kind_options<GatedExpert>(expert).activation, expert.d_ff};
  return {false, kind_options<FfnExpert>(expert).activation, expert.d_ff};
}

NameMap names(const EncoderDecoderOptions& o) {
  NameMap out = {ignored("decoder.block.*.layer.1.EncDecAttention.relative_attention_bias.weight")};
  add_ends(out, o, "shared.weight", {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"});
  const Form form = form_of(o);
  for (const std::string stack : {"encoder", "decoder"}) {
    const std::string theirs = stack + ".block.{i}.layer.", ours = stack + ".{i}.";
    out.add(same(stack + ".final_layer_norm.weight", stack + "_norm.scale"));
    out.add(same(theirs + "0.layer_norm.weight", ours + "attention_norm.scale"));
    out.add(same(theirs + "0.SelfAttention.relative_attention_bias.weight",
                 ours + "attention.position_bias"));
    for (const std::string letter : {"q", "k", "v", "o"}) {
      out.add(
          same(theirs + "0.SelfAttention." + letter + ".weight", ours + "attention.w_" + letter));
      if (stack == "decoder")
        out.add(same(theirs + "1.EncDecAttention." + letter + ".weight",
                     ours + "cross_attention.w_" + letter));
    }
    if (stack == "decoder")
      out.add(same(theirs + "1.layer_norm.weight", ours + "cross_norm.scale"));
    add_feed_forward(out, stack, stack == "encoder" ? "1" : "2", form);
  }
  return out;
}

/// How far sparse layers are apart.
int64_t step_of(const std::vector<int64_t>& sparse, int64_t layers) {
  if (sparse.empty()) return 0;
  if (static_cast<int64_t>(sparse.size()) == layers) return 1;
  return sparse.size() > 1 ? sparse[1] - sparse[0] : layers;
}

Table config(const EncoderDecoderOptions& o) {
  const auto attention = kind_options<Attention>(o.encoder.front().mixer);
  const Form form = form_of(o);
  Table out =
      table_of({{"architectures", Array{"SwitchTransformersForConditionalGeneration"}},
                {"model_type", "switch_transformers"},
                {"is_encoder_decoder", true},
                {"vocab_size", o.vocabulary},
                {"n_positions", o.context_length},
                {"d_model", o.d_model},
                {"d_kv", attention.head_dim > 0 ? attention.head_dim : o.d_model / attention.heads},
                {"d_ff", form.d_ff > 0 ? form.d_ff : 4 * o.d_model},
                {"num_heads", attention.heads},
                {"num_layers", static_cast<int64_t>(o.encoder.size())},
                {"num_decoder_layers", static_cast<int64_t>(o.decoder.size())},
                {"relative_attention_num_buckets", attention.relative.buckets},
                {"relative_attention_max_distance", attention.relative.max_distance},
                {"layer_norm_epsilon", o.norm_epsilon},
                {"dense_act_fn", hf_activation(form.activation)},
                {"feed_forward_proj", form.gated ? "gated-gelu" : "relu"},
                {"decoder_start_token_id", o.decoder_start},
                {"pad_token_id", int64_t{0}},
                {"eos_token_id", int64_t{1}},
                {"tie_word_embeddings", o.tied_embeddings}});
  for (const auto& [which, blocks] : {std::pair{"encoder", &o.encoder}, {"decoder", &o.decoder}}) {
    const auto sparse = routing_of(*blocks);
    out.set(concat("num_sparse_", which, "_layers"), static_cast<int64_t>(sparse.size()));
    out.set(concat(which, "_sparse_step"), step_of(sparse, static_cast<int64_t>(blocks->size())));
  }
  const auto* const sparse = first_with(o, "moe");
  if (!sparse) return out;
  const auto mixture = kind_options<layers::MoELayerOptions>(sparse->feed_forward);
  const auto router = kind_options<SwitchRouter>(mixture.router);
  out.set("num_experts", mixture.num_experts);
  out.set("expert_capacity", mixture.capacity.limit);
  out.set("router_bias", router.bias);
  out.set("router_jitter_noise", router.jitter);
  out.set("router_dtype", "float32");
  out.set("router_aux_loss_coef", coefficient_of(mixture.balance, "switch"));
  out.set("router_z_loss_coef", coefficient_of(mixture.balance, "z_loss"));
  return out;
}

}  // namespace switch_transformers

MOE_FAMILY(switch_transformers)

}  // namespace moe::models
