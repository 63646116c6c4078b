#pragma once
// The pre-tokenizer of a tokenizer.json: how text is divided into the words that the model sees.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <moe/data/tokenizers/function_ref.h>
#include <moe/data/tokenizers/tokenizer_json.h>

namespace moe::data {

/// Receives pieces in order; `begins`: the piece stands at the very front of the text.
using TakePiece = FunctionRef<void(std::string_view piece, bool begins)>;

/// Immutable and thread-safe.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// `text` is UTF-8 and not empty. Pieces may be empty; each is valid during the call.
  virtual void split(std::string_view text, bool begins, TakePiece take) const = 0;
};

/// One step after the other.
struct PreTokenizers {
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  /// The last step spells the bytes of a piece in GPT-2's letters.
  bool ends_in_letters = false;

  /// Calls `take` with the pieces that all steps leave of `text`, none of them empty.
  void split(std::string_view text, bool begins, TakePiece take, size_t step = 0) const {
    if (text.empty()) return;
    if (step == steps.size()) return take(text, begins);
    steps[step]->split(text, begins, [&](std::string_view piece, bool piece_begins) {
      split(piece, piece_begins, take, step + 1);
    });
  }
};

/// The pre-tokenizer that `object` describes: ByteLevel, Split, Digits, Punctuation, Whitespace,
/// WhitespaceSplit, Metaspace, BertPreTokenizer, UnicodeScripts, CharDelimiterSplit, FixedLength or
/// a Sequence of them; null divides nothing. Throws Error naming the place of what it is not.
PreTokenizers read_pre_tokenizer(const TokenizerJson& in, const nlohmann::json& object,
                                 const std::string& where);

}  // namespace moe::data
