#pragma once
// Small models for tests. B batch, S sequence, V vocabulary.

#include <functional>
#include <memory>
#include <string>
#include <tests/support/run_model.h>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <moe/layers/feed_forwards/dense.h>

namespace moe::test::tiny {

using at::Tensor;
using models::DecoderOptions;

constexpr int64_t kVocabulary = 11, kContext = 12;

inline Table with(const char* key, Value value) {
  Table settings;
  settings.set(key, std::move(value));
  return settings;
}

/// Two layers of four experts; every MoE layer has both default losses.
inline DecoderOptions options() {
  DecoderOptions o;
  o.vocabulary = kVocabulary;
  o.context_length = kContext;
  o.d_model = 8;
  o.uniform.layers = 2;
  o.uniform.heads = 2;
  o.uniform.moe.num_experts = 4;
  o.uniform.moe.expert.d_ff = 6;
  return o;
}

/// The choices a decoder offers, a few at a time.
inline std::vector<std::pair<std::string, DecoderOptions>> variants() {
  std::vector<std::pair<std::string, DecoderOptions>> out;
  const auto add = [&](const std::string& name,
                       const std::function<void(DecoderOptions&)>& change) {
    out.emplace_back(name, options());
    change(out.back().second);
  };
  add("default", [](auto&) {});
  add("dense", [](auto& o) { o.uniform.moe.num_experts = 0, o.uniform.feed_forward_bias = true; });
  add("dense_ffn", [](auto& o) {
    o.uniform.moe.num_experts = 0, o.uniform.feed_forward = "ffn", o.uniform.activation = "relu",
    o.uniform.d_ff = 5;
  });
  add("post_layernorm_tied", [](auto& o) {
    o.uniform.norm_position = "post", o.uniform.norm = "layernorm", o.tied_embeddings = true;
  });
  add("norms_around_capped_logits", [](auto& o) {
    o.uniform.norm_position = "both", o.uniform.norm = "rmsnorm_offset", o.embedding_scale = 2,
    o.logit_scale = 0.5, o.logit_softcap = 1.5, o.head_bias = true;
  });
  add("output_norms_learned_positions", [](auto& o) {
    o.uniform.norm_position = "output", o.uniform.norm = "layernorm_scale", o.uniform.rope = "none",
    o.learned_positions = true, o.tied_embeddings = true, o.logit_scale = 3;
  });
  add("residual_behind_norms",
      [](auto& o) { o.uniform.norm_position = "residual", o.uniform.norm = "rmsnorm_plain"; });
  add("grouped_query_qk_norm", [](auto& o) {
    o.uniform.heads = 4, o.uniform.kv_heads = 2, o.uniform.head_dim = 6, o.uniform.qk_norm = true,
    o.uniform.attention_bias = true;
  });
  add("multi_query_qk_layernorm", [](auto& o) {
    o.uniform.kv_heads = 1, o.uniform.qk_norm = true, o.uniform.norm = "layernorm";
  });
  add("every_second", [](auto& o) {
    o.uniform.layers = 4, o.uniform.moe.every = 2, o.uniform.feed_forward = "ffn",
    o.uniform.activation = "gelu";
  });
  add("listed_layers", [](auto& o) {
    o.uniform.layers = 3, o.uniform.moe.layers = {0, 2}, o.uniform.d_ff = 7;
  });
  add("per_layer", [](auto& o) {
    o.uniform.layers = 3;
    o.uniform.moe.experts_per_layer = {2, 0, 6};
    o.uniform.moe.top_k_per_layer = {1, 1, 3};
    o.uniform.d_ff_per_layer = {1, 9, 1};
  });
  add("sigmoid_shared_gate", [](auto& o) {
    o.uniform.moe.router = {.kind = "sigmoid", .options = with("bias", true)};
    o.uniform.moe.shared = Dense{.d_ff = 5, .gate = true};
  });
  add("switch_ffn_bias", [](auto& o) {
    o.uniform.moe.router.kind = "switch", o.uniform.moe.top_k = 1;
    o.uniform.moe.expert = {.kind = "ffn", .d_ff = 6, .options = with("bias", true)};
    o.uniform.moe.shared = Dense{.d_ff = 4, .gate = false};
  });
  return out;
}

/// What a model is made with.
struct Made {
  std::shared_ptr<parallel::Communicator> group = parallel::local();
  uint64_t seed = 1;
};

inline std::shared_ptr<models::Model> make(const DecoderOptions& o, const Made& made = {}) {
  return make_decoder(o, made.seed, {.layout = made.group});
}

/// (B, S) ids that look random.
inline Tensor ids(int64_t batch, int64_t length, int64_t salt = 0) {
  return (at::arange(batch * length, at::kLong).add(salt).square().mul(7).add(3))
      .remainder(kVocabulary)
      .view({batch, length});
}

}  // namespace moe::test::tiny
