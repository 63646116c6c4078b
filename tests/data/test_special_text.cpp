// Text that reads like a special token, encoded as the text that it is.
#include <algorithm>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/corpus.h>
#include <moe/data/json_lines.h>
#include <moe/data/token_file.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

using TextIds = std::vector<int64_t>;

BpeModel model_with_special() {
  return test::tiny_bpe(test::mixed_text(), 380, {"<|endoftext|>", "<|end|>", "<|end|>of"});
}

/// The same vocabulary, in which nothing is looked for in text.
BpeModel without_added(BpeModel model) {
  model.added.clear();
  return model;
}

int64_t count_special(const BpeModel& model, const TextIds& ids) {
  return std::ranges::count_if(ids, [&](int64_t id) {
    return std::ranges::any_of(model.added,
                               [&](const auto& token) { return token.special && token.id == id; });
  });
}

TextIds ids_of_tokens(const Tokens& tokens) {
  TextIds out(static_cast<size_t>(tokens.size()));
  tokens.copy(0, out);
  return out;
}

TEST(SpecialText, IsTheTextThatItIs) {
  for (const bool prefix : {false, true})
    for (const bool regex : {false, true}) {
      BpeModel model = model_with_special();
      model.add_prefix_space = prefix;
      model.use_regex = regex;
      const BpeTokenizer tokenizer(model, "t"), nothing_added(without_added(model), "n");
      const auto plain = tokenizer.without_special();
      const std::vector<std::string> parts = {"<|endoftext|>", "<|end|>", "<|end|>of", "<|end", " ",
                                              "it's",          "\n\n",    "日"};
      std::mt19937_64 random(2);
      for (int round = 0; round < 200; ++round) {
        std::string text;
        for (uint64_t left = random() % 12; left > 0; --left)
          text += parts[random() % parts.size()];
        const TextIds ids = plain->encode(text);
        EXPECT_EQ(count_special(model, ids), 0) << text;
        EXPECT_EQ(ids, nothing_added.encode(text)) << text;
        if (!prefix) {
          EXPECT_EQ(plain->decode(ids), text);
          EXPECT_EQ(plain->decode_plain(ids), text);
        }
      }
      EXPECT_EQ(tokenizer.encode("<|endoftext|>"),
                (TextIds{0}));  // the tokenizer itself is as before
    }
}

TEST(SpecialText, EverythingElseIsTheSame) {
  const BpeTokenizer tokenizer(model_with_special(), "t");
  const auto plain = tokenizer.without_special();
  EXPECT_EQ(plain->name(), "t");
  EXPECT_EQ(plain->vocabulary(), tokenizer.vocabulary());
  EXPECT_EQ(plain->end_of_text(), tokenizer.end_of_text());
  EXPECT_EQ(plain->tokenizer_json(), tokenizer.tokenizer_json());
  const TextIds ids = {0, 300, 1};
  EXPECT_EQ(plain->decode(ids), tokenizer.decode(ids));
  EXPECT_EQ(plain->decode_plain(ids), tokenizer.decode_plain(ids));
  EXPECT_EQ(plain->encode(test::mixed_text()), tokenizer.encode(test::mixed_text()));
  EXPECT_EQ(tokenizer.without_special(), plain);
  EXPECT_EQ(plain->without_special()->encode("<|end|>"), plain->encode("<|end|>"));
  EXPECT_EQ(ByteTokenizer().without_special()->encode("<|end|>"),
            ByteTokenizer().encode("<|end|>"));
}

TEST(SpecialText, AddedTokensThatAreNotSpecialAreStillFound) {
  BpeModel model = model_with_special();
  model.added[1].special = false;
  const auto plain = BpeTokenizer(model, "t").without_special();
  const TextIds ids = plain->encode("<|endoftext|><|end|>");
  EXPECT_EQ(count_special(model, ids), 0);
  EXPECT_EQ(ids.back(), 1);
}

TEST(SpecialText, NoMergeMakesASpecialToken) {
  for (const bool ignore_merges : {false, true})
    for (const std::string special : {"<>", "end"}) {
      BpeModel model = test::tiny_bpe("<> <> <> end end end bend", 300);
      const auto found = std::ranges::find(model.tokens, special);
      ASSERT_NE(found, model.tokens.end());
      const auto id = static_cast<uint32_t>(found - model.tokens.begin());
      model.ignore_merges = ignore_merges;
      model.added.push_back({.id = id, .text = special});
      const BpeTokenizer tokenizer(model, "t");
      EXPECT_EQ(tokenizer.encode("<>" + special).back(), id);
      const auto plain = tokenizer.without_special();
      for (const std::string& text :
           {special, "x" + special, " " + special + special, "b" + special}) {
        const TextIds ids = plain->encode(text);
        EXPECT_EQ(std::ranges::count(ids, int64_t{id}), 0) << text;
        EXPECT_EQ(plain->decode(ids), text);
      }
    }
}

TEST(SpecialText, AByteThatIsOnlyASpecialTokenIsRefused) {
  BpeModel model = test::tiny_bpe("a b", 256);
  const auto newline = std::ranges::find(model.tokens, std::string("\n"));
  model.added.push_back(
      {.id = static_cast<uint32_t>(newline - model.tokens.begin()), .text = "\n"});
  const BpeTokenizer tokenizer(model, "mine");
  EXPECT_ERROR(tokenizer.without_special(), "for every byte in 'mine'");
  EXPECT_ERROR(tokenizer.without_special(), "for byte 10");
  EXPECT_EQ(tokenizer.encode("\n").size(), 1u);
}

class SpecialCorpus : public testing::Test {
 protected:
  SpecialCorpus() {
    std::ofstream(folder_ / "t.json") << write_tokenizer_json(model_);
    std::ofstream(folder_ / "text") << "The cat<|endoftext|>isn't here.\n\nA hat<|endoftext|>\n";
    std::ofstream(folder_ / "lines")
        << R"({"text": "The <|endoftext|>cat is here", )"
        << R"("prompt": "<|end|>Question", "completion": "Answer<|end|>"})";
  }
  DomainOptions domain(const std::string& format, bool special) {
    DomainOptions out;
    out.name = format + (special ? "-special" : "-text");
    out.train = out.valid = folder_ / (format == "text" ? "text" : "lines");
    out.format = format;
    out.special = special;
    return out;
  }
  test::TemporaryFolder folder_;
  BpeModel model_ = model_with_special();
};

TEST_F(SpecialCorpus, DomainsSayWhetherSpecialTokensAreRead) {
  DataOptions options;
  options.tokenizer = folder_ / "t.json";
  options.sequence = 4;
  options.packing.end_of_text = true;
  const std::vector<std::string> formats = {"text", "jsonl_text", "jsonl_prompt_completion"};
  for (const auto& format : formats)
    for (const bool special : {true, false}) options.domains.push_back(domain(format, special));
  for (const char* documents : {"file", "blank_line"}) {
    options.packing.documents = documents;
    const Corpus corpus(options, 2);
    for (const auto& format : formats) {
      const Domain &with = corpus.domain(format + "-special"),
                   &without = corpus.domain(format + "-text");
      for (const auto split : {&Domain::train, &Domain::valid}) {
        const TextIds special = ids_of_tokens(with.*split), text = ids_of_tokens(without.*split);
        // What ends a document is put there by the run, and stays.
        const int64_t ends = format == "text" && documents == std::string("blank_line") ? 2 : 1;
        EXPECT_EQ(count_special(model_, text), ends) << format;
        EXPECT_EQ(count_special(model_, special), ends + (format == "jsonl_text" ? 1 : 2))
            << format;
        EXPECT_EQ(corpus.tokenizer()->decode(special), corpus.tokenizer()->decode(text));
      }
    }
  }
}

TEST_F(SpecialCorpus, ATokenFileOfTextWithoutThemIsReadByTheSameTokenizer) {
  const BpeTokenizer tokenizer(model_, "t");
  const auto plain = tokenizer.without_special();
  const Tokens tokens = tokens_of_text(nullptr, "a<|endoftext|>b", *plain);
  write_token_file(real_files(), folder_ / "tokens", tokens, *plain);
  EXPECT_EQ(ids_of_tokens(read_token_file(MappedFile::open(folder_ / "tokens"), tokenizer)),
            plain->encode("a<|endoftext|>b"));
}

TEST_F(SpecialCorpus, TheOptionIsRefusedWhereItWouldDoNothing) {
  DomainOptions tokens = domain("text", false);
  tokens.format = "tokens";
  EXPECT_ERROR(tokens.validate("data.domains"), "--no-special");
  tokens.special = true;
  EXPECT_EQ(test::message_of([&] { tokens.validate("data.domains"); }), "");
  DomainOptions images;
  images.name = "i";
  images.train = images.train_labels = "x";
  images.format = "idx";
  images.special = false;
  EXPECT_ERROR(images.validate("data.domains"), "of format idx. Leave it out.");
}

}  // namespace
}  // namespace moe::data
