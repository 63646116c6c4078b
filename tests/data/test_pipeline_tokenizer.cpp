// tokenizer.json in general: round trips, long words, damaged and hostile files.

#include <fstream>
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/base/error.h>
#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/tokenizers/known_patterns.h>
#include <moe/data/tokenizers/regex.h>
#include <moe/data/tokenizers/unicode.h>
#include <moe/data/utf8.h>

#include "tests/data/byte_level.h"
#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

using nlohmann::json;

class PipelineTokenizers : public testing::Test {
 protected:
  std::shared_ptr<const Tokenizer> read(const json& document) { return read_text(document.dump()); }
  std::shared_ptr<const Tokenizer> read_text(const std::string& text) {
    const auto path = folder_.path() / "tokenizer.json";
    std::ofstream(path) << text;
    return read_tokenizer(path);
  }
  std::string refusal(const json& document) {
    return test::message_of([&] { read(document); });
  }

  test::TemporaryFolder folder_;
};

/// Strings of all scripts, spaces and signs, longest `most` characters.
std::string random_text(std::mt19937& random, int most) {
  static const std::string kOften = "aeiou  \n\t'stSTrv0129.,!?-/\r";
  std::string out;
  for (int i = static_cast<int>(random() % static_cast<unsigned>(most)); i > 0; --i) {
    switch (random() % 4) {
      case 0:
        append_utf8(out, 0x20 + random() % 0x600);
        break;
      case 1: {
        const uint32_t code = random() % 0x110000;
        append_utf8(out, code >= 0xD800 && code < 0xE000 ? 'x' : code);
        break;
      }
      default:
        out += kOften[random() % kOften.size()];
    }
  }
  return out;
}

TEST_F(PipelineTokenizers, RoundTripUnicodeAndStreamWholeCharacters) {
  std::mt19937 random(1);
  for (const char* pattern : {kCl100k, kO200k, kDeepSeek}) {
    const auto tokenizer = read(byte_level(pattern));
    for (int i = 0; i < 2000; ++i) {
      const std::string text = random_text(random, 60);
      const auto ids = tokenizer->encode(text);
      ASSERT_EQ(tokenizer->decode(ids), text);
      if (i % 20 != 0) continue;
      const auto stream = tokenizer->stream({});
      Utf8Stream characters;
      std::string streamed;
      for (const int64_t id : ids) streamed += characters.push(stream->push(id));
      EXPECT_EQ(streamed + characters.flush(), text);
    }
  }
}

TEST_F(PipelineTokenizers, FindByHandWhatTheExpressionFinds) {
  std::mt19937 random(2);
  for (const char* pattern : {kCl100k, kO200k, kDeepSeek, R"(\p{N}{1,3})", R"(\s+$)"}) {
    SCOPED_TRACE(pattern);
    const MatchLength by_hand = known_pattern(pattern);
    ASSERT_NE(by_hand, nullptr);
    const Regex regex(pattern, "here");
    for (int i = 0; i < 3000; ++i) {
      const std::string text = random_text(random, 40);
      std::vector<std::pair<size_t, size_t>> mine, theirs;
      const auto keep = [](auto& list) {
        return [&list](size_t begin, size_t end, bool match) {
          if (match) list.emplace_back(begin, end);
        };
      };
      divide_by(by_hand, text, keep(mine));
      regex.divide(text, keep(theirs));
      if (mine != theirs) {
        // Newer characters are of different kinds to the two libraries: they are no letters to one.
        bool has_new = false;
        for (std::string_view rest = text; !rest.empty();
             rest.remove_prefix(first_code_point(rest).length))
          has_new |= first_code_point(rest).code > 0x700;
        EXPECT_TRUE(has_new) << json(text).dump();
      }
    }
  }
}

TEST_F(PipelineTokenizers, TakeLongWordsInTimeAboutLinearInThem) {
  // Quadratic work would take hours here.
  const auto words = read(byte_level(kCl100k));
  for (const std::string& part :
       {std::string("a"), std::string("ab"), std::string("é"), std::string(" ")}) {
    std::string text;
    while (text.size() < 1000000) text += part;
    EXPECT_EQ(words->decode(words->encode(text)), text);
  }
  json unigram = {{"model",
                   {{"type", "Unigram"},
                    {"unk_id", 0},
                    {"vocab", json::array({json::array({"<unk>", 0.0}), json::array({"a", -1.0}),
                                           json::array({"aaaa", -2.0})})}}},
                  {"decoder", {{"type", "Fuse"}}}};
  const std::string text(1000000, 'a');
  EXPECT_EQ(read(unigram)->decode(read(unigram)->encode(text)), text);
}

TEST_F(PipelineTokenizers, PutTokensAroundATextAndFindThemInIt) {
  json document = byte_level(kCl100k);
  document["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<|end|>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", json::array()},
      {"special_tokens",
       {{"<|end|>", {{"id", "<|end|>"}, {"ids", {0}}, {"tokens", {"<|end|>"}}}}}}};
  const auto tokenizer = read(document);
  const auto ids = tokenizer->encode("a<|end|>b");
  EXPECT_EQ(std::ranges::count(ids, 0), 1);
  auto framed = ids;
  framed.insert(framed.begin(), 0);
  EXPECT_EQ(tokenizer->encode_framed("a<|end|>b"), framed);
  EXPECT_EQ(tokenizer->decode_plain(ids), "ab");
  const auto as_text = tokenizer->without_special()->encode("a<|end|>b");
  EXPECT_EQ(std::ranges::count(as_text, 0), 0);
  EXPECT_EQ(tokenizer->decode_plain(as_text), "a<|end|>b");
}

TEST_F(PipelineTokenizers, RefuseDamagedFilesByPlace) {
  const auto with = [&](const char* pointer, json value) {
    json document = byte_level(kCl100k);
    document[json::json_pointer(pointer)] = std::move(value);
    return refusal(document);
  };
  const auto expect = [](const std::string& message, const std::string& part) {
    EXPECT_PRED2(test::contains, message, part);
  };
  expect(with("/normalizer", {{"type", "NFX"}}), "'normalizer'");
  expect(with("/normalizer", {{"type", "NFC"}, {"odd", 1}}), "'odd'");
  expect(with("/pre_tokenizer/pretokenizers/0/pattern/Regex", "(("), "pretokenizers[0].pattern");
  expect(with("/pre_tokenizer/pretokenizers/0/pattern/Regex", "[a&&b]"), "intersection");
  expect(with("/pre_tokenizer/pretokenizers/0/behavior", "Odd"), "'Odd'");
  expect(with("/model/dropout", 0.1), "dropout");
  expect(with("/model/type", "Odd"), "model.type");
  expect(with("/model/vocab/a", 4000000000u), "ids below");
  expect(with("/model/vocab/a", -1), "an id");
  expect(with("/model/vocab/a", 5), "twice");
  expect(with("/model/merges", json::array({"a bb"})), "model.merges[0]");
  expect(with("/model/merges", json::array({"a b c"})), "model.merges[0]");
  expect(with("/added_tokens/0/id", 77), "added_tokens[0].id");
  expect(with("/post_processor",
              {{"type", "BertProcessing"}, {"sep", {"x", 100000}}, {"cls", {"x", 0}}}),
         "an id in");
  expect(with("/decoder", {{"type", "Odd"}}), "'decoder'");
}

TEST_F(PipelineTokenizers, BoundWhatHostileFilesCost) {
  // Merges that lead back to where they came from still make a word shorter each time.
  json document = byte_level(kCl100k);
  document["model"]["vocab"][""] = 500;
  document["model"]["merges"] =
      json::array({json::array({"a", ""}), json::array({"", "a"}), json::array({"b", "b"})});
  document["model"]["vocab"]["bb"] = 501;
  try {
    const auto tokenizer = read(document);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode("aaabbb")), "aaabbb");
  } catch (const Error&) {
  }
  // A pattern that tries very many ways.
  document = byte_level("(a+)+(a+)+(a+)+\\1b|(x+x+)+y");
  EXPECT_THROW(read(document)->encode(std::string(3000, 'x') + std::string(3000, 'a')), Error);
  // Nesting, and a long line.
  EXPECT_THROW(read_text(R"({"model": )" + std::string(100000, '[')), Error);
  EXPECT_THROW(read_text(R"({"model": ")" + std::string(size_t{100} << 20, 'x') + "\"}"), Error);
  const auto tokenizer = read(byte_level(kCl100k));
  EXPECT_THROW(tokenizer->decode(std::vector<int64_t>{tokenizer->vocabulary()}), Error);
  EXPECT_THROW(tokenizer->decode(std::vector<int64_t>{-1}), Error);
}

}  // namespace
}  // namespace moe::data
