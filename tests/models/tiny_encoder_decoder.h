#pragma once
// Small encoder-decoders for tests. B batch, S sequence.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ops/tensor.h>

#include <moe/experts/kinds/ffn.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/architectures/encoder_decoder.h>
#include <moe/routing/kinds/switch.h>
#include <moe/routing/kinds/topk.h>

namespace moe::test::pair_model {

using models::EncoderDecoderOptions;
using Ids = std::vector<int64_t>;

constexpr int64_t kVocabulary = 13, kContext = 16;

/// Two blocks each: dense, then four experts, as T5 and Switch have them, or as NLLB does.
inline EncoderDecoderOptions options(bool t5 = true, int64_t capacity = 0) {
  layers::MoELayerOptions mixture;
  mixture.num_experts = 4;
  mixture.top_k = t5 ? 1 : 2;
  FfnExpert expert;
  expert.d_ff = 6;
  expert.activation = "relu";
  expert.bias = !t5;
  mixture.expert = expert;
  if (t5)
    mixture.router = SwitchRouter{};
  else
    mixture.router = TopKRouter{.scale = 0.8};
  mixture.capacity.limit = capacity;
  mixture.capacity.order = "token";
  Dense dense;
  dense.d_ff = 5;
  dense.form = "ffn";
  dense.activation = "relu";
  dense.bias = !t5;
  Attention attention;
  attention.heads = 2;
  attention.head_dim = t5 ? 3 : 4;
  attention.rope.kind = "none";
  attention.bias = attention.output_bias = !t5;
  if (t5) attention.scale = 1, attention.relative = {.buckets = 6, .max_distance = 9};
  layers::BlockSpec block;
  block.norm = t5 ? "rmsnorm" : "layernorm";
  EncoderDecoderOptions out;
  out.vocabulary = kVocabulary;
  out.context_length = kContext;
  out.d_model = 8;
  out.norm = block.norm;
  for (auto* blocks : {&out.encoder, &out.decoder}) {
    if (blocks == &out.decoder) {
      block.wiring = "cross";
      block.cross = {
          .heads = 2, .head_dim = attention.head_dim, .bias = !t5, .scale = t5 ? 1.0 : 0};
    }
    attention.relative.shared = false;
    block.mixer = attention;
    block.feed_forward = dense;
    blocks->push_back(block);
    attention.relative.shared = t5;
    block.mixer = attention;
    block.feed_forward = mixture;
    blocks->push_back(block);
  }
  out.positions = t5 ? "none" : "sinusoidal";
  out.pad_id = 1;
  out.embedding_scale = t5 ? 1 : 2;
  out.logit_scale = t5 ? 0.5 : 1;
  out.tied_embeddings = t5;
  out.decoder_start = 2;
  return out;
}

/// Texts for the encoder and the decoder, pair by pair.
struct Pair {
  Ids read, written;
};

inline std::vector<Pair> pairs() {
  return {{{3, 7, 4, 9, 12}, {2, 5, 8}}, {{10, 6}, {2, 0, 11, 4, 7, 7}}, {{8, 8, 3}, {2}}};
}

inline ModelInputs inputs_of(const std::vector<Pair>& pairs) {
  ModelInputs out;
  for (const bool decoder : {false, true}) {
    Ids ids, lengths;
    for (const Pair& pair : pairs) {
      const Ids& mine = decoder ? pair.written : pair.read;
      ids.insert(ids.end(), mine.begin(), mine.end());
      lengths.push_back(static_cast<int64_t>(mine.size()));
    }
    TokenList& list = decoder ? out.decoder : out.tokens;
    list.sequences = Sequences::of_lengths(lengths);
    list.ids_T = at::tensor(ids, at::kLong);
  }
  return out;
}

}  // namespace moe::test::pair_model
