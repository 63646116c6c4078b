#pragma once
// S sequence, V vocabulary.

#include <memory>
#include <optional>
#include <vector>

#include <moe/generation/sampler.h>
#include <moe/models/model.h>

namespace moe::generation {

struct ContinuationOptions {
  SamplerOptions sampling = {};
  /// Room to reserve in the cache beside the prompt.
  int64_t max_tokens = 256;
  /// Draw ids below this only; 0: all that the model has.
  int64_t vocabulary = 0;
};

/// The tokens that follow a prompt. Owns the cache of keys and values: the model is only read, and
/// may serve several continuations, also from several threads (one thread each).
class Continuation {
 public:
  /// Throws moe::Error for an empty prompt, for one longer than the model's context, and for a
  /// model that is not causal. Ids are checked by the model in the first `next`.
  Continuation(std::shared_ptr<models::LanguageModel> model, std::vector<int64_t> prompt,
               const ContinuationOptions& options);

  /// Reads what is new, and draws and appends one token; nothing when the context or the room is
  /// full. After an exception the continuation is of no more use.
  std::optional<int64_t> next();

  /// The prompt and all tokens drawn.
  const std::vector<int64_t>& tokens() const { return tokens_; }

 private:
  /// (V,) logits of the position behind all tokens.
  Tensor read();

  std::shared_ptr<models::LanguageModel> model_;
  ContinuationOptions options_;
  std::vector<int64_t> tokens_;
  int64_t capacity_ = 0;
  models::DecoderState state_;
};

}  // namespace moe::generation
