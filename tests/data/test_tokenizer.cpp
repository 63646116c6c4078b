#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/data/tokenizer.h>
#include <moe/data/utf8.h>

namespace moe::data {
namespace {

const std::string kReplaced = "\xEF\xBF\xBD";

TEST(ByteTokenizer, RoundTripsEveryByte) {
  const auto tokenizer = make_tokenizer("byte");
  std::string text;
  for (int i = 0; i < 256; ++i) text += static_cast<char>(i);
  const auto tokens = tokenizer->encode(text);
  ASSERT_EQ(tokens.size(), 256u);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(tokens[static_cast<size_t>(i)], i);
  EXPECT_EQ(tokenizer->decode(tokens), text);
  EXPECT_EQ(tokenizer->vocabulary(), 256);
  EXPECT_EQ(tokenizer->name(), "byte");
}

TEST(ByteTokenizer, RefusesIdsOutOfRange) {
  const ByteTokenizer tokenizer;
  EXPECT_THROW(tokenizer.decode(std::vector<int64_t>{65, 256}), Error);
  EXPECT_THROW(tokenizer.decode(std::vector<int64_t>{-1}), Error);
}

TEST(MakeTokenizer, RefusesUnknownKinds) {
  EXPECT_THROW(make_tokenizer("bytes"), ConfigError);
}

TEST(Utf8Stream, HandsOnWholeCharactersOnly) {
  const std::string text = "aş€🙂İ";
  Utf8Stream stream;
  std::string out;
  for (const char c : text) {
    const std::string piece = stream.push(std::string(1, c));
    if (!piece.empty()) {
      EXPECT_EQ(next_utf8(piece).kind, Utf8Piece::Kind::kCharacter);
    }
    out += piece;
  }
  EXPECT_EQ(out, text);
  EXPECT_EQ(stream.flush(), "");
}

TEST(Utf8Stream, ReplacesIllFormedBytes) {
  const auto all = [](std::string_view bytes) {
    Utf8Stream stream;
    std::string out = stream.push(bytes);
    return out + stream.flush();
  };
  EXPECT_EQ(all("a\xFF\x62"), "a" + kReplaced + "b");
  EXPECT_EQ(all("\xC0\xAF"), kReplaced + kReplaced);                  // overlong
  EXPECT_EQ(all("\xED\xA0\x80"), kReplaced + kReplaced + kReplaced);  // surrogate
  EXPECT_EQ(all("\xF4\x90\x80\x80"),
            kReplaced + kReplaced + kReplaced + kReplaced);  // beyond U+10FFFF
  EXPECT_EQ(all("\xE2\x82"
                "a"),
            kReplaced + "a");             // cut off, then another character
  EXPECT_EQ(all("\xE2\x82"), kReplaced);  // cut off at the end
  EXPECT_EQ(all("\x80"), kReplaced);
}

TEST(Utf8Stream, DoesNotDependOnHowBytesArrive) {
  const std::string bytes = "x\xE2\x82\xF0\x9F\x99\x82\xC5\x9Fy\xF0\x9F";
  Utf8Stream whole;
  std::string expected = whole.push(bytes);
  expected += whole.flush();
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    Utf8Stream stream;
    std::string out = stream.push(bytes.substr(0, cut));
    out += stream.push(bytes.substr(cut));
    EXPECT_EQ(out + stream.flush(), expected) << cut;
  }
}

}  // namespace
}  // namespace moe::data
