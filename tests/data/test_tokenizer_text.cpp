// Text to ids and back, and text from tokens one by one, for every kind of tokenizer.

#include <cstdlib>
#include <fstream>
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/tokenizers/read_tokenizer.h>
#include <moe/data/tokenizers/sentencepiece_tokenizer.h>
#include <moe/data/tokenizers/unicode.h>
#include <moe/data/utf8.h>

#include "tests/data/byte_level.h"
#include "tests/support/tiny_bpe.h"
#include "tests/support/tiny_sentencepiece.h"

namespace moe::data {
namespace {

using nlohmann::json;
using TokenizerPointer = std::shared_ptr<const Tokenizer>;

/// So many random strings a kind (five seconds for all); MOE_ROUND_TRIPS says another number.
int round_trips() {
  const char* asked = std::getenv("MOE_ROUND_TRIPS");
  return asked != nullptr ? std::atoi(asked) : 100000;
}

/// Characters of all planes, those beside the surrogates, marks, Han, emoji joined to families,
/// flags, control characters, runs of spaces, at most `most` of them.
std::string any_text(std::mt19937& random, unsigned most) {
  static const std::vector<std::string> kWhole = {
      "\uD7FF",     "\uE000", "\uFFFD", "\uFFFF",
      "\U0010FFFF", "\u200D", "\uFE0F", "👩‍👩‍👧",
      "🇹🇷",         "🏽",   "'s",     "'LL",
      "\r\n",       "  ",     "\u00A0", "\u3000",
      "\u2028",     "İ",      "ß",      "e\u0301\u0323"};
  static const std::string kOften = "aeiou  \n\t'stSTrv0129.,!?-/\r";
  const auto between = [&](uint32_t first, uint32_t last) {
    return first + static_cast<uint32_t>(random() % (last - first + 1));
  };
  std::string out;
  for (unsigned i = random() % most; i > 0; --i) {
    switch (random() % 10) {
      case 0:
        append_utf8(out, between(0x20, 0x620));
        break;
      case 1: {
        const uint32_t code = between(0, 0x10FFFF);
        append_utf8(out, code >= 0xD800 && code < 0xE000 ? 0x41 : code);
        break;
      }
      case 2:
        append_utf8(out, between(0x300, 0x36F));
        break;
      case 3:
        append_utf8(out, between(0x3400, 0x9FFF));
        break;
      case 4:
        append_utf8(out, between(0, 0x1F));
        break;
      case 5:
        out += kWhole[random() % kWhole.size()];
        break;
      default:
        out += kOften[random() % kOften.size()];
    }
  }
  return out;
}

constexpr const char* kQwenWords =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kWordsByPcre2 = R"(\s?\p{L}+|\p{N}|\s+$)";

/// Byte-level tokenizers by name.
std::vector<std::pair<std::string, TokenizerPointer>> byte_level_tokenizers() {
  std::vector<std::pair<std::string, TokenizerPointer>> out;
  const auto model = test::tiny_bpe(test::mixed_text(), 500, {"<|end|>"});
  out.emplace_back("gpt2", std::make_shared<BpeTokenizer>(model, "gpt2"));
  const std::pair<const char*, const char*> patterns[] = {{"cl100k", kCl100k},
                                                          {"qwen", kQwenWords},
                                                          {"o200k", kO200k},
                                                          {"deepseek", kDeepSeek},
                                                          {"pcre2", kWordsByPcre2}};
  for (const auto& [name, pattern] : patterns)
    out.emplace_back(name, parse_tokenizer(byte_level(pattern).dump(), name));
  return out;
}

/// Tokenizers whose decoders look at neighbours, and the byte-level ones.
std::vector<std::pair<std::string, TokenizerPointer>> tokenizers_of_every_kind() {
  auto out = byte_level_tokenizers();
  using Kind = SentencePieceModel::Kind;
  for (const auto kind : {Kind::kUnigram, Kind::kBpe})
    for (const bool fallback : {false, true})
      out.emplace_back(
          "sentencepiece" + std::to_string(static_cast<int>(kind)) + (fallback ? " bytes" : ""),
          read_sentencepiece(test::tiny_sentencepiece(kind, fallback), "s", {}));
  json vocab = {{"<unk>", 0}, {"▁", 1}, {"a", 2}, {"▁a", 3}, {"日", 4}, {"b", 5}};
  json pieces = json::array({{"<unk>", 0.0}, {"▁", -2.0}, {"a", -2.0}, {"▁a", -1.0}, {"日", -3.0}});
  for (int byte = 0; byte < 256; ++byte) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    const std::string text = std::string("<0x") + kDigits[static_cast<size_t>(byte >> 4)] +
                             kDigits[static_cast<size_t>(byte & 15)] + '>';
    vocab[text] = 6 + byte;
    pieces.push_back({text, -9.0});
  }
  const json metaspace = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}, {"split", true}};
  const json fallback_decoder = {
      {"type", "Sequence"},
      {"decoders",
       {{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
        {{"type", "ByteFallback"}},
        {{"type", "Fuse"}},
        {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}};
  const auto add = [&](const std::string& name, const json& model, const json& words,
                       const json& decoder) {
    const json document = {{"model", model}, {"pre_tokenizer", words}, {"decoder", decoder}};
    out.emplace_back(name, parse_tokenizer(document.dump(), name));
  };
  add("metaspace bytes",
      {{"type", "BPE"},
       {"unk_token", "<unk>"},
       {"byte_fallback", true},
       {"fuse_unk", true},
       {"vocab", vocab},
       {"merges", {"▁ a"}}},
      metaspace, fallback_decoder);
  add("unigram bytes",
      {{"type", "Unigram"}, {"unk_id", 0}, {"byte_fallback", true}, {"vocab", pieces}}, metaspace,
      fallback_decoder);
  add("metaspace", {{"type", "BPE"}, {"unk_token", "<unk>"}, {"vocab", vocab}, {"merges", {"▁ a"}}},
      metaspace, metaspace);
  add("wordpiece",
      {{"type", "WordPiece"},
       {"unk_token", "<unk>"},
       {"vocab", {{"<unk>", 0}, {"a", 1}, {"##b", 2}, {"日", 3}, {"##本", 4}, {"é", 5}, {".", 6}}}},
      {{"type", "BertPreTokenizer"}}, {{"type", "WordPiece"}});
  add("wordlevel",
      {{"type", "WordLevel"},
       {"unk_token", "<unk>"},
       {"vocab", {{"<unk>", 0}, {"日本", 1}, {"é", 2}}}},
      {{"type", "Whitespace"}}, json());
  return out;
}

TEST(TokenizerText, ComesBackFromIdsForEveryByteLevelKind) {
  for (const auto& [name, tokenizer] : byte_level_tokenizers()) {
    SCOPED_TRACE(name);
    std::mt19937 random(1);
    for (int i = 0; i < round_trips(); ++i) {
      const std::string text = any_text(random, 60);
      ASSERT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << json(text).dump();
    }
  }
}

TEST(TokenizerText, ReadsIllFormedBytesAsReplacementCharacters) {
  for (const auto& [name, tokenizer] : byte_level_tokenizers()) {
    SCOPED_TRACE(name);
    std::mt19937 random(2);
    for (int i = 0; i < 2000; ++i) {
      std::string text = any_text(random, 20);
      for (uint64_t left = random() % 4; left > 0 && !text.empty(); --left)
        text[random() % text.size()] = static_cast<char>(random() % 256);
      const std::string decoded = tokenizer->decode(tokenizer->encode(text));
      ASSERT_EQ(to_valid_utf8(decoded), to_valid_utf8(text));
      if (name != "gpt2") {
        ASSERT_EQ(decoded, to_valid_utf8(text));
      }
    }
    // As Python replaces them: one U+FFFD for what begins a character and does not end it.
    EXPECT_EQ(to_valid_utf8("a\xF0\x9F\x99z\xED\xA0\x80\xC0"), "a\uFFFDz\uFFFD\uFFFD\uFFFD\uFFFD");
  }
}

TEST(TokenizerText, StreamsWholeCharactersForEveryKind) {
  for (const auto& [name, tokenizer] : tokenizers_of_every_kind()) {
    SCOPED_TRACE(name);
    std::mt19937 random(3);
    for (int i = 0; i < 400; ++i) {
      // Ids of a text, which come back as its decoding; then any ids, also of half characters.
      const bool of_text = i % 2 == 0;
      std::vector<int64_t> ids = tokenizer->encode(any_text(random, 30) + "日本 a é");
      if (!of_text)
        for (auto& id : ids)
          id = static_cast<int64_t>(random() % static_cast<uint64_t>(tokenizer->vocabulary()));
      const auto stream = tokenizer->stream({});
      Utf8Stream characters;
      std::string streamed;
      for (const int64_t id : ids) {
        const std::string part = characters.push(stream->push(id));
        ASSERT_TRUE(is_utf8(part)) << json(ids).dump();
        streamed += part;
      }
      streamed += characters.push(stream->flush());
      streamed += characters.flush();
      ASSERT_TRUE(is_utf8(streamed));
      const std::string whole = tokenizer->decode(ids);
      const bool judged_by_neighbours = whole.find("\uFFFD") != whole.npos;
      if (of_text && !judged_by_neighbours) {
        ASSERT_EQ(streamed, whole) << json(ids).dump();
      }
    }
  }
}

TEST(TokenizerText, OfOneTokenHasTheSpaceThatStandsInsideAText) {
  using Kind = SentencePieceModel::Kind;
  for (const auto kind : {Kind::kUnigram, Kind::kBpe}) {
    const auto tokenizer = read_sentencepiece(test::tiny_sentencepiece(kind, true), "s", {});
    const auto ids = tokenizer->encode("the cat");
    ASSERT_EQ(ids.size(), 2u);
    EXPECT_EQ(tokenizer->decode(std::vector<int64_t>{ids[0]}), "the");
    EXPECT_EQ(token_text(*tokenizer, ids[0]), " the");
    EXPECT_EQ(token_text(*tokenizer, ids[1]), " cat");
    const auto inside = tokenizer->encode("cats").back();
    EXPECT_EQ(token_text(*tokenizer, inside), "s");
    EXPECT_EQ(token_text(*tokenizer, 1), "<s>");
  }
  const BpeTokenizer bytes(test::tiny_bpe(test::mixed_text(), 500), "t");
  for (int64_t id = 0; id < bytes.vocabulary(); ++id)
    EXPECT_EQ(token_text(bytes, id), bytes.decode(std::vector<int64_t>{id}));
}

}  // namespace
}  // namespace moe::data
