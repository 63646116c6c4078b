#pragma once
// GPT-2's pre-tokenisation: the words that merges never cross.

#include <cstddef>
#include <string_view>

namespace moe::data {

/// Length in bytes of the word that `text` (not empty) begins with, by GPT-2's pattern
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// Letters, numbers and white space are those of unicode_ranges.inc. Bytes that are no UTF-8 are
/// none of the three, as U+FFFD would be in their place. Words follow one another without a gap, so
/// the words of a text are found one after another in time linear in its length.
size_t gpt2_word_length(std::string_view text);

/// The first place at or behind `from`, and behind 0, where `text` can be cut, so that the words of
/// the two parts, each found by itself, are those of the whole: at ASCII white space behind a
/// character that is none. Behind white space there is no such place: what follows a run of it
/// decides how the run is divided. The end of `text` when there is none.
size_t gpt2_word_border(std::string_view text, size_t from);

}  // namespace moe::data
