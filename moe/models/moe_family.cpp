#include <algorithm>
#include <set>

#include <moe/balance/kinds/switch.h>
#include <moe/base/error.h>
#include <moe/models/moe_family.h>

namespace moe::models {

namespace {

/// Layers behind a model's own that may be there to predict further tokens.
constexpr int64_t kMostPredictionLayers = 8;

}  // namespace

void ignore_training(const HfConfig& c) {
  c.ignore({"attention_dropout", "aux_loss_alpha", "aux_loss_free_gamma", "ep_size",
            "hidden_dropout", "load_balance_coeff", "pretraining_tp", "router_aux_loss_coef",
            "router_jitter_noise", "router_z_loss_coef", "seq_aux"});
}

int64_t head_dim_of(const HfConfig& c, int64_t otherwise) {
  if (!c.names("head_dim")) return otherwise;
  return c.size("head_dim", c.size("hidden_size") / c.size("num_attention_heads"));
}

Dense dense_of(const HfConfig& c, int64_t d_ff) {
  Dense out;
  out.d_ff = d_ff;
  out.activation = activation_of(c, "hidden_act");
  return out;
}

GatedExpert expert_of(const HfConfig& c, int64_t d_ff) {
  GatedExpert out;
  out.d_ff = d_ff;
  out.activation = activation_of(c, "hidden_act");
  return out;
}

std::vector<BalanceSpec> balance_of(const HfConfig& c) {
  SwitchLoss loss;
  loss.coefficient = c.number("router_aux_loss_coef", 0);
  if (loss.coefficient == 0) return {};
  return {loss};
}

SigmoidRouter sigmoid_router_of(const HfConfig& c, const SigmoidDefaults& absent) {
  c.only("scoring_func", {"sigmoid", "noaux_tc"}, "another rule of selection");
  c.only("topk_method", {"noaux_tc"}, "another rule of selection");
  SigmoidRouter out;
  out.renormalise = c.flag("norm_topk_prob", absent.renormalise);
  out.scale = c.number("routed_scaling_factor", absent.scale);
  const auto groups = [&](const char* key, int64_t fallback) {
    const bool none = c.names(key) && !c.has(key);  // null: without groups
    return none ? 1 : c.size(key, fallback);
  };
  out.groups = groups("n_group", absent.groups);
  out.kept_groups = groups("topk_group", absent.kept_groups);
  if (out.groups == 1) out.kept_groups = 0;
  out.bias_rate = 0;
  return out;
}

layers::FeedForwardSpec shared_experts(const HfConfig& c, int64_t count, int64_t width) {
  if (count == 0) return {};
  return dense_of(c, count * width);
}

layers::MoELayerOptions mixture_of(const HfConfig& c, const RouterSpec& router, int64_t shared) {
  const int64_t width = c.size("moe_intermediate_size");
  layers::MoELayerOptions out;
  out.num_experts = c.size("n_routed_experts");
  out.top_k = c.size("num_experts_per_tok");
  out.router = router;
  out.expert = expert_of(c, width);
  const int64_t count = c.count("n_shared_experts", c.names("n_shared_experts") ? 0 : shared);
  out.shared = shared_experts(c, count, width);
  out.balance = balance_of(c);
  return out;
}

DecoderParts::DecoderParts(const DecoderOptions& options)
    : blocks(options.block_specs()), d_model(options.d_model) {
  for (const auto& block : blocks) sparse.push_back(block.feed_forward.kind == "moe");
  const auto first = std::find(sparse.begin(), sparse.end(), true);
  if (first != sparse.end()) {
    const auto& block = blocks[static_cast<size_t>(first - sparse.begin())];
    mixture = kind_options<layers::MoELayerOptions>(block.feed_forward);
    expert = kind_options<GatedExpert>(mixture.expert);
    expert.d_ff = mixture.expert.d_ff;
    if (layers::is_present(mixture.shared)) shared = kind_options<Dense>(mixture.shared);
  }
  if (expert.d_ff == 0) expert.d_ff = 4 * d_model;
  for (size_t i = blocks.size(); i-- > 0;)
    if (!sparse[i]) dense = kind_options<Dense>(blocks[i].feed_forward);
  if (dense.d_ff == 0) dense.d_ff = 4 * d_model;
  if (first == sparse.end()) expert.activation = dense.activation;  // config.json has one for both
}

int64_t DecoderParts::dense_prefix() const {
  return std::find(sparse.begin(), sparse.end(), true) - sparse.begin();
}

int64_t DecoderParts::last_sparse() const {
  return sparse.rend() - std::find(sparse.rbegin(), sparse.rend(), true) - 1;
}

int64_t DecoderParts::sparse_step() const {
  const int64_t first = dense_prefix();
  int64_t out = 1;
  while (first + out < layers() && !sparse[static_cast<size_t>(first + out)]) ++out;
  return first + out < layers() ? out : 1;
}

int64_t DecoderParts::shared_count() const {
  return shared.d_ff / expert.d_ff;
}

Attention DecoderParts::attention(size_t block) const {
  auto out = kind_options<Attention>(blocks[block].mixer);
  if (out.kv_heads == 0) out.kv_heads = out.heads;
  if (out.head_dim == 0) out.head_dim = d_model / out.heads;
  return out;
}

double balance_coefficient(const layers::MoELayerOptions& mixture) {
  for (const auto& term : mixture.balance)
    if (term.kind == "switch") return term.coefficient;
  return 0;
}

void write_sigmoid_router(Table& config, const layers::MoELayerOptions& mixture) {
  // Of a model whose layers are all dense there is none.
  const auto router = mixture.router.kind == RouterSpec().kind
                          ? SigmoidRouter()
                          : kind_options<SigmoidRouter>(mixture.router);
  config.set("norm_topk_prob", router.renormalise);
  config.set("routed_scaling_factor", router.scale);
  config.set("n_group", router.groups);
  config.set("topk_group", std::max<int64_t>(router.kept_groups, 1));
}

void write_mixture(Table& config, const DecoderParts& parts) {
  const int64_t shared = parts.shared_count();
  config.set("n_routed_experts", parts.mixture.num_experts);
  config.set("num_experts_per_tok", parts.mixture.top_k);
  config.set("moe_intermediate_size", parts.expert.d_ff);
  config.set("n_shared_experts", shared > 0 ? Value(shared) : Value());
  config.set("hidden_act", hf_activation(parts.expert.activation));
}

Table without_rope(const Table& config) {
  const std::set<std::string> left_out = {"rope_theta", "rope_scaling", "partial_rotary_factor"};
  Table out;
  for (const auto& [key, value] : config)
    if (!left_out.contains(key)) out.set(key, value);
  return out;
}

void write_windows(Table& config, const DecoderParts& parts) {
  Array kinds;
  Value width;
  for (size_t i = 0; i < parts.blocks.size(); ++i) {
    const int64_t window = parts.attention(i).window;
    kinds.emplace_back(window > 0 ? kSlidingAttention : kFullAttention);
    if (width.empty() && window > 0) width = window;
  }
  config.set("layer_types", std::move(kinds));
  config.set("sliding_window", std::move(width));
}

NameMap sandwich_names(const DecoderOptions& o, const std::string& before,
                       const std::string& behind) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  NameMap out = {
      same("model.embed_tokens.weight", "embedding"),
      same("model.norm.weight", "norm.scale"),
      same(theirs + "input_layernorm.weight", ours + "attention_norm.scale"),
      same(theirs + "post_attention_layernorm.weight", ours + "attention_output_norm.scale"),
      same(theirs + behind + ".weight", ours + "ffn_output_norm.scale"),
      ignored("model.layers.*.self_attn.rotary_emb.inv_freq")};
  if (!before.empty()) out.add(same(theirs + before + ".weight", ours + "ffn_norm.scale"));
  for (const std::string letter : {"q", "k", "v", "o"})
    for (const bool bias : {false, true})
      out.add(same(theirs + "self_attn." + letter + (bias ? "_proj.bias" : "_proj.weight"),
                   ours + "attention." + (bias ? "b_" : "w_") + letter));
  out.add(o.tied_embeddings ? tied("lm_head.weight", "embedding") : same("lm_head.weight", "head"));
  add_qk_norms(out);
  return out;
}

void add_qk_norms(NameMap& map, const std::string& query, const std::string& key) {
  const std::string theirs = "model.layers.{i}.self_attn.", ours = "layers.{i}.attention.";
  map.add(same(theirs + query + ".weight", ours + "q_norm.scale"));
  map.add(same(theirs + key + ".weight", ours + "k_norm.scale"));
}

void add_deepseek_mixture(NameMap& map, bool stacked) {
  const std::string theirs = "model.layers.{i}.mlp.", ours = "layers.{i}.moe.";
  add_gate(map, theirs, ours);
  map.add(same(theirs + "gate.e_score_correction_bias", ours + "router.selection_bias"));
  (stacked ? add_stacked_experts : add_named_experts)(map, theirs, ours);
  add_dense(map, theirs + "shared_experts.", ours + "shared.");
  add_dense(map, theirs, "layers.{i}.dense.");
}

void skip_prediction_layers(NameMap& map, int64_t layers) {
  for (int64_t i = layers; i < layers + kMostPredictionLayers; ++i) {
    const std::string layer = concat("model.layers.", i, '.');
    map.add(ignored(layer + '*', layer + "eh_proj.weight"));
  }
}

}  // namespace moe::models
