#pragma once
// How SentencePiece divides normalized text into pieces.

#include <memory>

#include <moe/data/tokenizers/sentencepiece_model.h>
#include <moe/data/tokenizers/token_model.h>

namespace moe::data {

/// Byte-pair encoding by scores: of neighbours whose text is a piece together those of the largest
/// score merge, the leftmost of equals. User-defined pieces must have been cut out.
std::unique_ptr<TokenModel> make_sentencepiece_bpe(const SentencePieceModel& model);

/// The unigram model. User-defined pieces are always taken.
std::unique_ptr<TokenModel> make_sentencepiece_unigram(const SentencePieceModel& model);

}  // namespace moe::data
