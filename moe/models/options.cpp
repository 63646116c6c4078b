#include <algorithm>
#include <cmath>

#include <moe/balance/term.h>
#include <moe/experts/experts.h>
#include <moe/models/layer_facts.h>
#include <moe/models/options.h>
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

void check_size(int64_t value, int64_t least, const std::string& place, const char* key) {
  check<ConfigError>(value >= least && value <= kLargestSize, "config", "expected '", place, '.',
                     key, "' of at least ", least, " and at most ", kLargestSize, ", got ", value,
                     ". Correct it.");
}

void check_finite(double value, double least, const std::string& place, const char* key) {
  check<ConfigError>(std::isfinite(value) && value >= least, "config", "expected '", place, '.',
                     key, "' to be finite and at least ", least, ", got ", value, ". Correct it.");
}

}  // namespace

void ModelOptions::resolve() {
  moe.router.options = routing::routers().at(moe.router.kind).resolve(moe.router.options);
  moe.expert.options = experts::expert_kinds().at(moe.expert.kind).resolve(moe.expert.options);
  for (auto& term : moe.balance)
    term.options = balance::terms().at(term.kind).resolve(term.options);
  moe.expert.d_ff = expert_width();
}

void ModelOptions::validate(const std::string& place) const {
  for (const auto& [key, size] :
       {std::pair{"vocabulary", vocabulary}, std::pair{"context_length", context_length},
        std::pair{"d_model", d_model}, std::pair{"layers", layers}, std::pair{"heads", heads},
        std::pair{"moe.every", moe.every}})
    check_size(size, 1, place, key);
  check<ConfigError>(layers <= kMostLayers, "config", "expected '", place, ".layers' of at most ",
                     kMostLayers, ", got ", layers, ". Lower it.");
  for (const auto& [key, size] :
       {std::pair{"kv_heads", kv_heads}, std::pair{"head_dim", head_dim}, std::pair{"d_ff", d_ff},
        std::pair{"moe.num_experts", moe.num_experts},
        std::pair{"moe.expert.d_ff", moe.expert.d_ff},
        std::pair{"moe.shared.d_ff", moe.shared.d_ff}})
    check_size(size, 0, place, key);
  for (const int64_t size : d_ff_per_layer) check_size(size, 0, place, "d_ff_per_layer");
  for (const int64_t size : moe.experts_per_layer)
    check_size(size, 0, place, "moe.experts_per_layer");
  check_finite(rope_theta, 1e-3, place, "rope_theta");
  check_finite(norm_epsilon, 0, place, "norm_epsilon");
  check_list(d_ff_per_layer, layers, place, "d_ff_per_layer");
  check_list(moe.experts_per_layer, layers, place, "moe.experts_per_layer");
  check_list(moe.top_k_per_layer, layers, place, "moe.top_k_per_layer");
  check_one_of("config", concat(place, ".norm_position"), norm_position, {"pre", "post"});
  check_one_of("config", concat(place, ".norm"), norm, {"rmsnorm", "layernorm"});
  check_one_of("config", concat(place, ".feed_forward"), feed_forward, {"gated", "ffn"});
  ops::parse_activation(activation, "config");
  check<ConfigError>(head_dim > 0 || d_model % heads == 0, "config", "expected '", place,
                     ".d_model' to be a multiple of heads=", heads, ", got ", d_model,
                     ". Change one of them, or set head_dim.");
  check<ConfigError>(head_width() % 2 == 0, "config", "expected an even head width in '", place,
                     "', got ", head_width(), ". Set head_dim, or change d_model or heads.");
  check<ConfigError>(heads % kv_head_count() == 0, "config", "expected '", place,
                     ".heads' to be a multiple of kv_heads, got ", heads, " and ", kv_heads,
                     ". Change one of them.");
  check<ConfigError>(dropout >= 0 && dropout < 1 && attention_dropout >= 0 && attention_dropout < 1,
                     "config", "expected '", place, ".dropout' and '", place,
                     ".attention_dropout' in [0, 1), got ", dropout, " and ", attention_dropout,
                     ". Lower them.");
  check<ConfigError>(moe.expert_dropout >= 0 && moe.expert_dropout < 1, "config", "expected '",
                     place, ".moe.expert_dropout' in [0, 1), got ", moe.expert_dropout,
                     ". Lower it.");
  check<ConfigError>(static_cast<int64_t>(moe.layers.size()) <= layers, "config", "expected '",
                     place, ".moe.layers' to name at most all ", layers, " layers, got ",
                     moe.layers.size(), " numbers. Name each once.");
  for (const int64_t i : moe.layers)
    check<ConfigError>(i >= 0 && i < layers, "config", "expected '", place,
                       ".moe.layers' in [0, layers=", layers, "), got ", i, ". Correct it.");
  for (int64_t i = 0; i < layers; ++i)
    check<ConfigError>(experts_of(i) == 0 || (top_k_of(i) >= 1 && top_k_of(i) <= experts_of(i)),
                       "config", "expected '", place,
                       ".moe.top_k' in [1, num_experts=", experts_of(i), "] in layer ", i, ", got ",
                       top_k_of(i), ". Lower top_k or add experts.");
}

int64_t ModelOptions::experts_of(int64_t i) const {
  if (!moe.experts_per_layer.empty()) return moe.experts_per_layer[static_cast<size_t>(i)];
  const auto& list = moe.layers;
  const bool chosen = list.empty() ? (i + 1) % moe.every == 0
                                   : std::find(list.begin(), list.end(), i) != list.end();
  return chosen ? moe.num_experts : 0;
}

int64_t ModelOptions::top_k_of(int64_t i) const {
  return moe.top_k_per_layer.empty() ? moe.top_k : moe.top_k_per_layer[static_cast<size_t>(i)];
}

int64_t ModelOptions::dense_width(int64_t i) const {
  if (!d_ff_per_layer.empty()) return d_ff_per_layer[static_cast<size_t>(i)];
  if (d_ff > 0) return d_ff;
  // As many experts as meet a token of the first MoE layer, where its router gives tokens other
  // than their K.
  double met = static_cast<double>(top_k_of(i));
  const bool mixes = moe.num_experts > 0 || !moe.experts_per_layer.empty();
  for (int64_t m = 0; mixes && m < layers; ++m) {
    if (experts_of(m) == 0) continue;
    const double said = experts_met(*this, experts_of(m), top_k_of(m));
    if (said != static_cast<double>(top_k_of(m))) met = said;
    break;
  }
  return std::llround(met * static_cast<double>(expert_width())) + moe.shared.d_ff;
}

ModelOptions dense_twin(const ModelOptions& options) {
  const auto matrices = [](const std::string& form) { return form == "ffn" ? 2.0 : 3.0; };
  const auto& kind = options.moe.expert.kind;
  const bool plain = kind == "ffn" || kind == "basic" || kind == "advanced";
  const std::string form = plain ? "ffn" : "gated";
  const auto facts = layer_facts(options);
  ModelOptions twin = options;
  twin.d_ff_per_layer.clear();
  for (int64_t i = 0; i < options.layers; ++i) {
    // Hidden units times the matrices that each belongs to, D numbers wide; rounded to whole units.
    const auto& [router, met, parameters, flops] = facts[static_cast<size_t>(i)];
    const double active =
        options.experts_of(i) > 0
            ? met * flops / static_cast<double>(2 * options.d_model) +
                  static_cast<double>(options.moe.shared.d_ff) * matrices("gated")
            : static_cast<double>(options.dense_width(i)) * matrices(options.feed_forward);
    twin.d_ff_per_layer.push_back(std::llround(active / matrices(form)));
  }
  twin.feed_forward = form;
  const Table expert =
      experts::expert_kinds().at(kind).resolve(options.moe.expert.options);  // with its defaults
  const Value *bias = expert.find("bias"), *dropout = expert.find("dropout"),
              *activation = expert.find("activation");
  twin.feed_forward_bias = bias && bias->as<bool>() && *bias->as<bool>();
  check<ConfigError>(!dropout || !dropout->as<double>() || *dropout->as<double>() == 0, "models",
                     "expected experts without dropout for a dense twin, got ",
                     dropout ? dropout->text() : "", ". Use model.dropout, which both have.");
  const auto* name = activation ? activation->as<std::string>() : nullptr;
  twin.activation = name ? *name : form == "ffn" ? "gelu" : "silu";
  twin.moe.num_experts = 0;
  twin.moe.layers.clear();
  twin.moe.experts_per_layer.clear();
  return twin;
}

}  // namespace moe::models
