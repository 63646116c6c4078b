#include <random>
#include <regex>

#include <gtest/gtest.h>

#include <moe/data/bpe/byte_letters.h>
#include <moe/data/bpe/gpt2_words.h>

namespace moe::data {
namespace {

using Words = std::vector<std::string>;

Words bpe_words_of(std::string_view text) {
  Words out;
  while (!text.empty()) {
    const size_t length = gpt2_word_length(text);
    if (length == 0 || length > text.size()) return {"no word"};
    out.emplace_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return out;
}

TEST(Gpt2Words, DividesAsThePatternSays) {
  const std::vector<std::pair<std::string, Words>> cases = {
      {"Hello my friend, how is your day going?",
       {"Hello", " my", " friend", ",", " how", " is", " your", " day", " going", "?"}},
      {"Hello there       dear", {"Hello", " there", "      ", " dear"}},
      {"Hello there\nHello there", {"Hello", " there", "\n", "Hello", " there"}},
      {"a\n\nb", {"a", "\n", "\n", "b"}},
      {"a \n b", {"a", " \n", " b"}},
      {"end  ", {"end", "  "}},
      {"\t\tx", {"\t", "\t", "x"}},
      {" x", {" x"}},
      {" ", {" "}},
      {"", {}},
      {"I'll we've don't they're I'm he'd it's",
       {"I", "'ll", " we", "'ve", " don", "'t", " they", "'re", " I", "'m", " he", "'d", " it",
        "'s"}},
      {"O'Neil IT'S", {"O", "'", "Neil", " IT", "'", "S"}},
      {"'s's ''s !'s", {"'s", "'s", " ''", "s", " !'", "s"}},
      {" 'tis", {" '", "tis"}},
      {"'r 'v 'l", {"'", "r", " '", "v", " '", "l"}},
      {"2024, x2y 3.14", {"2024", ",", " x", "2", "y", " 3", ".", "14"}},
      {"a!? b", {"a", "!?", " b"}},
      {"++i;\n", {"++", "i", ";", "\n"}},
  };
  for (const auto& [text, words] : cases) EXPECT_EQ(bpe_words_of(text), words) << text;
}

TEST(Gpt2Words, KnowsLettersNumbersAndSpacesOfUnicode) {
  const std::vector<std::pair<std::string, Words>> cases = {
      {"Çağrı Straße naïve", {"Çağrı", " Straße", " naïve"}},
      {"Москва, Αθήνα", {"Москва", ",", " Αθήνα"}},
      {"日本語 テスト。", {"日本語", " テスト", "。"}},
      {"i⭢j", {"i", "⭢", "j"}},
      {"x²½ Ⅷ٣", {"x", "²½", " Ⅷ٣"}},        // No, Nl, Nd
      {"e\u0301a", {"e", "\u0301", "a"}},    // a combining mark is no letter
      {"ह\u093F न", {"ह", "\u093F", " न"}},  // nor is a vowel sign
      {"a\u00A0b", {"a", "\u00A0", "b"}},    // white space, but not the space
      {"a \u3000b", {"a", " ", "\u3000", "b"}},
      {"a\u2028\u2029\u0085", {"a", "\u2028\u2029\u0085"}},
      {"a\u200Bb\x1F", {"a", "\u200B", "b", "\x1F"}},  // neither is white space
      {"😀😀 🙂x", {"😀😀", " 🙂", "x"}},
      {"𝒳𐐀 𐄇", {"𝒳𐐀", " 𐄇"}},  // beyond the basic plane
  };
  for (const auto& [text, words] : cases) EXPECT_EQ(bpe_words_of(text), words) << text;
}

TEST(Gpt2Words, TakesBytesThatAreNoUtf8AsNeitherLetterNorSpace) {
  EXPECT_EQ(bpe_words_of("a\xFF\xFE b"), (Words{"a", "\xFF\xFE", " b"}));
  EXPECT_EQ(bpe_words_of("a\xE2\x82"), (Words{"a", "\xE2\x82"}));
  EXPECT_EQ(bpe_words_of("\x80!x"), (Words{"\x80!", "x"}));
  EXPECT_EQ(bpe_words_of(std::string("\0\0 \0", 4)),
            (Words{std::string("\0\0", 2), std::string(" \0", 2)}));
}

TEST(Gpt2Words, AgreesWithTheRegularExpressionOnAscii) {
  const std::regex pattern(
      "'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\\sA-Za-z0-9]+|\\s+(?!\\S)|\\s+");
  const std::string alphabet = "   \n\t'''srevtlmdAz09.,!<|>_";
  std::mt19937_64 random(5);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (uint64_t left = random() % 40; left > 0; --left)
      text += alphabet[random() % alphabet.size()];
    Words expected;
    for (std::sregex_iterator i(text.begin(), text.end(), pattern), end; i != end; ++i)
      expected.push_back(i->str());
    EXPECT_EQ(bpe_words_of(text), expected) << text;
  }
}

TEST(ByteLetters, AreGpt2sTable) {
  EXPECT_EQ(bytes_to_letters(" a\n\t~"), "ĠaĊĉ~");
  EXPECT_EQ(bytes_to_letters(std::string("\0\x7F\xA0\xAD\xFF", 5)), "ĀġłŃÿ");
  EXPECT_EQ(bytes_to_letters("é"), "Ã©");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(letters_to_bytes(bytes_to_letters(all)), all);
  EXPECT_EQ(bytes_in_letter_order()[0], '!');
  EXPECT_EQ(bytes_in_letter_order()[187], 0xFF);
  EXPECT_EQ(bytes_in_letter_order()[188], 0);
  EXPECT_EQ(bytes_in_letter_order()[220], ' ');  // as in GPT-2's vocabulary
}

TEST(ByteLetters, RefusesCharactersThatStandForNoByte) {
  for (const char* letters : {" ", "\n", "\x7F", "\u00AD", "\u0144", "語", "a b", "🙂"})
    EXPECT_EQ(letters_to_bytes(letters), std::nullopt) << letters;
}

}  // namespace
}  // namespace moe::data
