#include <algorithm>

#include <moe/models/options.h>

namespace moe::models {

namespace {

void check_list(const std::vector<int64_t>& list, int64_t layers, const std::string& place,
                const char* key) {
  check<ConfigError>(list.empty() || static_cast<int64_t>(list.size()) == layers, "config",
                     "expected ", layers, " numbers in '", place, '.', key, "', one a layer, got ",
                     list.size(), ". Add or remove some.");
}

void check_positive(int64_t value, const std::string& place, const char* key) {
  check<ConfigError>(value > 0, "config", "expected '", place, '.', key, "' above 0, got ", value,
                     ". Correct it.");
}

}  // namespace

void ModelOptions::validate(const std::string& place) const {
  check_positive(vocabulary, place, "vocabulary");
  check_positive(context_length, place, "context_length");
  check_positive(d_model, place, "d_model");
  check_positive(layers, place, "layers");
  check_positive(heads, place, "heads");
  check_positive(moe.every, place, "moe.every");
  check_list(d_ff_per_layer, layers, place, "d_ff_per_layer");
  check_list(moe.experts_per_layer, layers, place, "moe.experts_per_layer");
  check_list(moe.top_k_per_layer, layers, place, "moe.top_k_per_layer");
  check<ConfigError>(norm_position == "pre" || norm_position == "post", "config", "expected '",
                     place, ".norm_position' \"pre\" or \"post\", got \"", norm_position, "\".");
  check<ConfigError>(dropout >= 0 && dropout < 1 && attention_dropout >= 0 && attention_dropout < 1,
                     "config", "expected '", place, ".dropout' and '", place,
                     ".attention_dropout' in [0, 1), got ", dropout, " and ", attention_dropout,
                     ".");
  for (const int64_t i : moe.layers)
    check<ConfigError>(i >= 0 && i < layers, "config", "expected '", place,
                       ".moe.layers' in [0, layers=", layers, "), got ", i, ".");
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
  return d_ff > 0 ? d_ff : top_k_of(i) * expert_width() + moe.shared.d_ff;
}

ModelOptions dense_twin(const ModelOptions& options) {
  const auto matrices = [](const std::string& form) -> int64_t { return form == "ffn" ? 2 : 3; };
  const std::string form = options.moe.expert.kind == "ffn" ? "ffn" : "gated";
  ModelOptions twin = options;
  twin.d_ff_per_layer.clear();
  for (int64_t i = 0; i < options.layers; ++i) {
    // Hidden units times the matrices that each belongs to, D numbers wide; rounded to whole units.
    const int64_t active = options.experts_of(i) > 0
                               ? options.top_k_of(i) * options.expert_width() * matrices(form) +
                                     options.moe.shared.d_ff * matrices("gated")
                               : options.dense_width(i) * matrices(options.feed_forward);
    twin.d_ff_per_layer.push_back((active + matrices(form) / 2) / matrices(form));
  }
  twin.feed_forward = form;
  const Value* given = options.moe.expert.options.find("activation");
  const auto* activation = given ? given->as<std::string>() : nullptr;
  twin.activation = activation ? *activation : form == "ffn" ? "gelu" : "silu";
  twin.moe.num_experts = 0;
  twin.moe.layers.clear();
  twin.moe.experts_per_layer.clear();
  return twin;
}

}  // namespace moe::models
