#pragma once
// Dividing text where the script changes.

#include <memory>

#include <moe/data/tokenizers/pre_tokenizers.h>

namespace moe::data {

/// Pieces of one script, as the crate `tokenizers` makes them: Hiragana and Katakana count as Han,
/// a space goes with what stands before it, spaces at the front of a text go away.
std::unique_ptr<PreTokenizer> make_script_splitter();

}  // namespace moe::data
