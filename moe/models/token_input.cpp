// T tokens.
#include <moe/base/error.h>
#include <moe/models/token_input.h>

namespace moe::models {

TokenList described(TokenList tokens, const TokenLimits& limits, const char* place) {
  const Tensor& ids_T = tokens.ids_T;
  check(ids_T.defined() && ids_T.dim() == 1 && ids_T.scalar_type() == at::kLong, place,
        "expected int64 ids of shape (T,), got ",
        ids_T.defined() ? concat(ids_T.scalar_type(), ' ', ids_T.sizes()) : "none",
        ". Pass the tokens as a list; flow/packing.h makes one of rows.");
  if (tokens.sequences.count() == 0) tokens.sequences = Sequences::equal(1, ids_T.size(0));
  const auto& sequences = tokens.sequences;
  check(sequences.tokens() == ids_T.size(0), place, "expected sequences of ", ids_T.size(0),
        " tokens in all, got ", sequences.tokens(), ". Describe exactly the ids that are passed.");
  check(!tokens.domains_T.defined() || tokens.domains_T.sizes() == ids_T.sizes(), place,
        "expected one domain for each of ", ids_T.size(0), " tokens, got shape ",
        tokens.domains_T.defined() ? tokens.domains_T.sizes() : at::IntArrayRef(), '.');
  const int64_t positions = sequences.end_position();
  check(positions <= limits.context_length, place,
        "expected at most context_length=", limits.context_length, " positions, got ", positions,
        ". Shorten the input.");
  if (ids_T.numel() == 0) return tokens;
  const int64_t low = ids_T.min().item<int64_t>(), high = ids_T.max().item<int64_t>();
  check(low >= 0 && high < limits.vocabulary, place,
        "expected token ids in [0, vocabulary=", limits.vocabulary, "), got ", low < 0 ? low : high,
        ". Use the tokenizer the model was trained with.");
  return tokens;
}

}  // namespace moe::models
