#include <moe/data/bpe/byte_letters.h>

namespace moe::data {

namespace {

struct ByteLetters {
  static constexpr unsigned kLetters = 0x100 + 68;

  std::array<uint16_t, 256> letter_of_byte = {};
  std::array<int16_t, kLetters> byte_of_letter = {};  // -1: no letter
  std::array<uint8_t, 256> order = {};
};

constexpr bool prints_in_latin1(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr ByteLetters make_byte_letters() {
  ByteLetters out;
  for (auto& byte : out.byte_of_letter) byte = -1;
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const unsigned letter = prints_in_latin1(byte) ? byte : next++;
    out.letter_of_byte[byte] = static_cast<uint16_t>(letter);
    out.byte_of_letter[letter] = static_cast<int16_t>(byte);
  }
  size_t count = 0;
  for (const int16_t byte : out.byte_of_letter)
    if (byte >= 0) out.order[count++] = static_cast<uint8_t>(byte);
  return out;
}

constexpr ByteLetters kByteLetters = make_byte_letters();

}  // namespace

std::string bytes_to_letters(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const unsigned letter = kByteLetters.letter_of_byte[static_cast<unsigned char>(c)];
    if (letter < 0x80) {
      out += static_cast<char>(letter);
    } else {
      out += static_cast<char>(0xC0 | (letter >> 6));
      out += static_cast<char>(0x80 | (letter & 0x3F));
    }
  }
  return out;
}

std::optional<std::string> letters_to_bytes(std::string_view letters) {
  std::string out;
  for (size_t i = 0; i < letters.size(); ++i) {
    unsigned letter = static_cast<unsigned char>(letters[i]);
    if (letter >= 0x80) {
      if (letter < 0xC0 || letter >= 0xE0 || i + 1 == letters.size()) return std::nullopt;
      letter = ((letter & 0x1F) << 6) | (static_cast<unsigned char>(letters[++i]) & 0x3F);
    }
    if (letter >= ByteLetters::kLetters || kByteLetters.byte_of_letter[letter] < 0)
      return std::nullopt;
    out += static_cast<char>(kByteLetters.byte_of_letter[letter]);
  }
  return out;
}

const std::array<uint8_t, 256>& bytes_in_letter_order() {
  return kByteLetters.order;
}

}  // namespace moe::data
