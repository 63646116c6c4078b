#pragma once
// Language models small enough for exhaustive checks, with random parameters fixed by a seed.

#include <memory>
#include <tests/support/run_model.h>

#include <moe/base/fields.h>
#include <moe/data/tokenizer.h>
#include <moe/models/load.h>

namespace moe::test {

/// Two layers, the second one a mixture of 3 experts, 2 a token. Large random weights, so that
/// logits differ clearly.
inline models::DecoderOptions tiny_options() {
  models::DecoderOptions options;
  options.vocabulary = 11;
  options.context_length = 12;
  options.d_model = 8;
  options.uniform.layers = 2;
  options.uniform.heads = 2;
  options.uniform.d_ff = 10;
  options.uniform.moe.num_experts = 3;
  options.uniform.moe.every = 2;
  options.uniform.moe.expert.d_ff = 6;
  return options;
}

inline std::shared_ptr<models::Model> tiny_model(
    const models::DecoderOptions& options = tiny_options(), uint64_t seed = 5) {
  return make_decoder(options, seed);
}

inline models::DecoderOptions tiny_text_options(int64_t context_length = 64) {
  models::DecoderOptions options = tiny_options();
  options.vocabulary = 256;
  options.context_length = context_length;
  return options;
}

/// A model of bytes, with its tokenizer.
inline models::LoadedModel tiny_text_model(int64_t context_length = 64) {
  models::LoadedModel out;
  out.model = tiny_model(tiny_text_options(context_length));
  out.tokenizer = data::make_tokenizer("byte");
  return out;
}

}  // namespace moe::test
