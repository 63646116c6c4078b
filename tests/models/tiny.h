#pragma once
// Small models for tests. B batch, S sequence, V vocabulary.

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <moe/models/model.h>

namespace moe::test::tiny {

using at::Tensor;
using models::ModelOptions;

constexpr int64_t kVocabulary = 11, kContext = 12;

inline Table with(const char* key, Value value) {
  Table settings;
  settings.set(key, std::move(value));
  return settings;
}

/// Two layers of four experts; every MoE layer has both default losses.
inline ModelOptions options() {
  ModelOptions o;
  o.vocabulary = kVocabulary;
  o.context_length = kContext;
  o.d_model = 8;
  o.layers = 2;
  o.heads = 2;
  o.moe.num_experts = 4;
  o.moe.expert.d_ff = 6;
  return o;
}

/// The choices a decoder offers, a few at a time.
inline std::vector<std::pair<std::string, ModelOptions>> variants() {
  std::vector<std::pair<std::string, ModelOptions>> out;
  const auto add = [&](const std::string& name, const std::function<void(ModelOptions&)>& change) {
    out.emplace_back(name, options());
    change(out.back().second);
  };
  add("default", [](auto&) {});
  add("dense", [](auto& o) { o.moe.num_experts = 0, o.feed_forward_bias = true; });
  add("dense_ffn", [](auto& o) {
    o.moe.num_experts = 0, o.feed_forward = "ffn", o.activation = "relu", o.d_ff = 5;
  });
  add("post_layernorm_tied",
      [](auto& o) { o.norm_position = "post", o.norm = "layernorm", o.tied_embeddings = true; });
  add("grouped_query_qk_norm", [](auto& o) {
    o.heads = 4, o.kv_heads = 2, o.head_dim = 6, o.qk_norm = true, o.attention_bias = true;
  });
  add("multi_query_qk_layernorm",
      [](auto& o) { o.kv_heads = 1, o.qk_norm = true, o.norm = "layernorm"; });
  add("every_second", [](auto& o) {
    o.layers = 4, o.moe.every = 2, o.feed_forward = "ffn", o.activation = "gelu";
  });
  add("listed_layers", [](auto& o) { o.layers = 3, o.moe.layers = {0, 2}, o.d_ff = 7; });
  add("per_layer", [](auto& o) {
    o.layers = 3;
    o.moe.experts_per_layer = {2, 0, 6};
    o.moe.top_k_per_layer = {1, 1, 3};
    o.d_ff_per_layer = {1, 9, 1};
  });
  add("sigmoid_shared_gate", [](auto& o) {
    o.moe.router = {.kind = "sigmoid", .options = with("bias", true)};
    o.moe.shared = {5, true};
  });
  add("switch_ffn_bias", [](auto& o) {
    o.moe.router.kind = "switch", o.moe.top_k = 1;
    o.moe.expert = {.kind = "ffn", .d_ff = 6, .options = with("bias", true)};
    o.moe.shared = {4, false};
  });
  return out;
}

inline std::shared_ptr<models::LanguageModel> make(const std::string& family, const ModelOptions& o,
                                                   const models::ModelShape& shape = {.seed = 1}) {
  return models::families().at(family).make(shape, write_fields(o));
}

/// (B, S) ids that look random.
inline Tensor ids(int64_t batch, int64_t length, int64_t salt = 0) {
  return (at::arange(batch * length, at::kLong).add(salt).square().mul(7).add(3))
      .remainder(kVocabulary)
      .view({batch, length});
}

}  // namespace moe::test::tiny
