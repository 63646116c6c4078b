#include <algorithm>
#include <cmath>

#include <moe/config/differences.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/models/uniform_blocks.h>
#include <moe/ops/grouped.h>
#include <moe/routing/router.h>

namespace moe::models {

namespace {

constexpr int64_t kMostLayers = 65536;
/// Of every width and count: the product of two fits an int64_t.
constexpr int64_t kLargestSize = INT32_MAX;

void check_list(const std::vector<int64_t>& list, int64_t layers, const std::string& place,
                const char* key) {
  check<ConfigError>(list.empty() || static_cast<int64_t>(list.size()) == layers, "config",
                     "expected ", layers, " numbers in '", place, '.', key, "', one a layer, got ",
                     list.size(), ". Add or remove some.");
}

void check_share(double value, const std::string& place, const char* key) {
  check<ConfigError>(value >= 0 && value < 1, "config", "expected '", place, '.', key,
                     "' in [0, 1), got ", value, ". Correct it.");
}

/// Active experts of a layer of so many experts and choices: what its router says.
double active_experts(const UniformBlocks& blocks, int64_t i, int64_t d_model) {
  const auto router =
      blocks.moe.router.make(routing::RouterShape{.d_model = d_model,
                                                  .num_experts = blocks.experts_of(i),
                                                  .top_k = blocks.top_k_of(i),
                                                  .tensors = at::TensorOptions(at::kMeta)});
  return router->active_experts();
}

/// Whether `specs` are `blocks`, but for feed-forwards of `blocks` that are dense.
bool are_equal_but_dense(std::vector<layers::BlockSpec> specs,
                         std::vector<layers::BlockSpec> blocks) {
  if (specs.size() != blocks.size()) return false;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (blocks[i].feed_forward.kind == "dense") specs[i].feed_forward = blocks[i].feed_forward;
    specs[i].resolve();
    blocks[i].resolve();
    if (!config::differences(write_fields(specs[i]), write_fields(blocks[i])).empty()) return false;
  }
  return true;
}

}  // namespace

void check_size(int64_t value, int64_t least, const std::string& place, const char* key) {
  check<ConfigError>(value >= least && value <= kLargestSize, "config", "expected '", place, '.',
                     key, "' of at least ", least, " and at most ", kLargestSize, ", got ", value,
                     ". Correct it.");
}

void UniformBlocks::validate(const std::string& place, int64_t d_model) const {
  for (const auto& [key, size] :
       {std::pair{"layers", layers}, std::pair{"heads", heads}, std::pair{"moe.every", moe.every}})
    check_size(size, 1, place, key);
  check<ConfigError>(layers <= kMostLayers, "config", "expected '", place, ".layers' of at most ",
                     kMostLayers, ", got ", layers, ". Lower it.");
  for (const auto& [key, size] :
       {std::pair{"kv_heads", kv_heads}, std::pair{"head_dim", head_dim}, std::pair{"d_ff", d_ff},
        std::pair{"moe.num_experts", moe.num_experts},
        std::pair{"moe.expert.d_ff", moe.expert.d_ff}})
    check_size(size, 0, place, key);
  for (const int64_t size : d_ff_per_layer) check_size(size, 0, place, "d_ff_per_layer");
  for (const int64_t size : moe.experts_per_layer)
    check_size(size, 0, place, "moe.experts_per_layer");
  check_list(d_ff_per_layer, layers, place, "d_ff_per_layer");
  check_list(moe.experts_per_layer, layers, place, "moe.experts_per_layer");
  check_list(moe.top_k_per_layer, layers, place, "moe.top_k_per_layer");
  layers::BlockSpec{.norm = norm,
                    .norm_epsilon = norm_epsilon,
                    .norm_position = norm_position,
                    .dropout = dropout}
      .validate(place);
  check_one_of("config", concat(place, ".feed_forward"), feed_forward, {"gated", "ffn"});
  ops::parse_activation(activation, "config");
  check_one_of("config", concat(place, ".rope"), rope, {"halves", "interleaved", "none"});
  check<ConfigError>(std::isfinite(rope_theta) && rope_theta >= 1e-3, "config", "expected '", place,
                     ".rope_theta' to be finite and at least 0.001, got ", rope_theta,
                     ". Correct it.");
  check<ConfigError>(head_dim > 0 || d_model % heads == 0, "config", "expected '", place,
                     ".d_model' to be a multiple of heads=", heads, ", got ", d_model,
                     ". Change one of them, or set head_dim.");
  const int64_t head_width = head_dim > 0 ? head_dim : d_model / heads;
  check<ConfigError>(rope == "none" || head_width % 2 == 0, "config",
                     "expected an even head width in '", place, "', got ", head_width,
                     ". Set head_dim, or change d_model or heads.");
  check<ConfigError>(heads % (kv_heads > 0 ? kv_heads : heads) == 0, "config", "expected '", place,
                     ".heads' to be a multiple of kv_heads, got ", heads, " and ", kv_heads,
                     ". Change one of them.");
  check_share(attention_dropout, place, "attention_dropout");
  check_share(moe.expert_dropout, place, "moe.expert_dropout");
  check<ConfigError>(static_cast<int64_t>(moe.layers.size()) <= layers, "config", "expected '",
                     place, ".moe.layers' to name at most all ", layers, " layers, got ",
                     moe.layers.size(), " numbers. Name each once.");
  for (const int64_t i : moe.layers)
    check<ConfigError>(i >= 0 && i < layers, "config", "expected '", place,
                       ".moe.layers' in [0, layers=", layers, "), got ", i, ". Correct it.");
  for (int64_t i = 0; i < layers; ++i)
    check<ConfigError>(
        experts_of(i) == 0 || (top_k_of(i) >= 1 && top_k_of(i) <= experts_of(i)), "config",
        "expected '", place, ".moe.top_k' in [1, num_experts=", experts_of(i), "] in layer ", i,
        ", got ", top_k_of(i), top_k_of(i) < 1 ? ". Raise it." : ". Lower top_k or add experts.");
}

void UniformBlocks::resolve(int64_t d_model) {
  moe.router.resolve();
  moe.expert.resolve();
  for (auto& term : moe.balance) term.resolve();
  if (layers::is_present(moe.shared)) moe.shared.resolve();
  moe.expert.d_ff = expert_width(d_model);
}

int64_t UniformBlocks::experts_of(int64_t i) const {
  if (!moe.experts_per_layer.empty()) return moe.experts_per_layer[static_cast<size_t>(i)];
  const auto& list = moe.layers;
  const bool chosen = list.empty() ? (i + 1) % moe.every == 0
                                   : std::find(list.begin(), list.end(), i) != list.end();
  return chosen ? moe.num_experts : 0;
}

void UniformBlocks::validate_beside(const std::vector<layers::BlockSpec>& blocks,
                                    const UniformBlocks& defaults, const std::string& place,
                                    int64_t d_model) const {
  UniformBlocks read = defaults;
  read.norm = norm;
  read.norm_position = norm_position;
  read.norm_epsilon = norm_epsilon;
  read.dropout = dropout;
  std::vector<std::string> keys;
  for (const auto& [key, was, is] : config::differences(write_fields(read), write_fields(*this)))
    keys.push_back(concat('\'', place, '.', key, "' = ", is));
  if (keys.empty()) return;
  if (layers == static_cast<int64_t>(blocks.size())) {
    validate(place, d_model);  // specs() are of valid options
    if (are_equal_but_dense(specs(d_model), blocks)) return;
  }
  fail<ConfigError>("config", "expected no settings of uniform blocks beside '", place,
                    ".blocks', got ", join(keys), ". Set them in the blocks, or leave out '", place,
                    ".blocks'.");
}

int64_t UniformBlocks::top_k_of(int64_t i) const {
  return moe.top_k_per_layer.empty() ? moe.top_k : moe.top_k_per_layer[static_cast<size_t>(i)];
}

int64_t UniformBlocks::dense_width(int64_t i, int64_t d_model) const {
  if (!d_ff_per_layer.empty()) return d_ff_per_layer[static_cast<size_t>(i)];
  if (d_ff > 0) return d_ff;
  // Where the first MoE layer's router activates another number than top_k (expert choice, dense),
  // use that.
  double active = static_cast<double>(top_k_of(i));
  const bool mixes = moe.num_experts > 0 || !moe.experts_per_layer.empty();
  for (int64_t m = 0; mixes && m < layers; ++m) {
    if (experts_of(m) == 0) continue;
    const double said = active_experts(*this, m, d_model);
    if (said != static_cast<double>(top_k_of(m))) active = said;
    break;
  }
  const Value* shared = layers::is_present(moe.shared) ? moe.shared.options.find("d_ff") : nullptr;
  return std::llround(active * static_cast<double>(expert_width(d_model))) +
         (shared && shared->as<int64_t>() ? *shared->as<int64_t>() : 0);
}

std::vector<layers::BlockSpec> UniformBlocks::specs(int64_t d_model) const {
  const layers::MixerSpec attention = Attention{.heads = heads,
                                                .kv_heads = kv_heads,
                                                .head_dim = head_dim,
                                                .bias = attention_bias,
                                                .output_bias = attention_bias,
                                                .qk_norm = qk_norm ? "head" : "none",
                                                .rope = {.kind = rope, .theta = rope_theta},
                                                .dropout = attention_dropout};
  layers::MoELayerOptions mixture = {.router = moe.router,
                                     .expert = moe.expert,
                                     .balance = moe.balance,
                                     .shared = moe.shared,
                                     .capacity = moe.capacity,
                                     .dispatcher = moe.dispatcher,
                                     .expert_dropout = moe.expert_dropout,
                                     .least_top_k = moe.least_top_k,
                                     .identity_experts = moe.identity_experts,
                                     .zero_experts = moe.zero_experts,
                                     .constant_experts = moe.constant_experts};
  mixture.expert.d_ff = expert_width(d_model);
  std::vector<layers::BlockSpec> out;
  for (int64_t i = 0; i < layers; ++i) {
    layers::BlockSpec block = {.mixer = attention,
                               .norm = norm,
                               .norm_epsilon = norm_epsilon,
                               .norm_position = norm_position,
                               .dropout = dropout};
    if (experts_of(i) > 0) {
      mixture.num_experts = experts_of(i);
      mixture.top_k = top_k_of(i);
      block.feed_forward = mixture;
    } else {
      block.feed_forward = Dense{.d_ff = dense_width(i, d_model),
                                 .form = feed_forward,
                                 .activation = activation,
                                 .bias = feed_forward_bias};
    }
    out.push_back(std::move(block));
  }
  return out;
}

}  // namespace moe::models
