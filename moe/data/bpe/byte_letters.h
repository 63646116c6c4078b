#pragma once
// GPT-2's letters for bytes: every byte has one printable character, so that tokens of any bytes
// are readable text in a tokenizer.json. Bytes that print in Latin-1 stand for themselves, the
// other 68 take U+0100, U+0101, … in their order: a space is "Ġ", a newline "Ċ".

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moe::data {

/// The letters of `bytes`, as UTF-8.
std::string bytes_to_letters(std::string_view bytes);

/// The bytes that `letters` (UTF-8) stand for; nothing when a character is no letter of a byte.
std::optional<std::string> letters_to_bytes(std::string_view letters);

/// All bytes in the order of their letters' code points, which is the order of their ids in a
/// trained vocabulary.
const std::array<uint8_t, 256>& bytes_in_letter_order();

}  // namespace moe::data
