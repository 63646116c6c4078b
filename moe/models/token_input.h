#pragma once
// T tokens.

#include <moe/flow/sequences.h>

namespace moe::models {

/// What ids and positions a model has.
struct TokenLimits {
  int64_t vocabulary = 0;
  int64_t context_length = 0;
};

/// `tokens` with a description of every one: without a sequence they are all one. Throws moe::Error
/// naming `place` for ids that are no list, outside the vocabulary, and not described exactly, and
/// for positions beyond the context length.
TokenList described(TokenList tokens, const TokenLimits& limits, const char* place);

}  // namespace moe::models
