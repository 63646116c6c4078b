// Encoding by several threads gives the ids of one.
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include <moe/data/bpe/bpe_encoder.h>
#include <moe/data/bpe/gpt2_words.h>
#include <moe/data/corpus.h>
#include <moe/data/utf8.h>

#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

using ParallelIds = std::vector<int64_t>;

/// Words, spaces of every kind, special tokens and bytes that are no UTF-8, in random order.
std::string jumble(size_t bytes, uint64_t seed) {
  const std::vector<std::string> parts = {
      " ",      "  ",          "\n",     "\n\n",     "\r\n", "\t",
      "\u00A0", "\u2028",      "The",    "it's",     "'ll",  "42",
      "...",    "日本語",      "Москва", "e\u0301",  "🙂", "<|endoftext|>",
      "<|end",  "<|end|>of\n", "\xFF",   "\xE6\x97", "x",    std::string(1, '\0'),
      "ğüş",    "\n \n",       "\u3000"};
  std::mt19937_64 random(seed);
  std::string out;
  while (out.size() < bytes) out += parts[random() % parts.size()];
  return out;
}

BpeModel parallel_model() {
  return test::tiny_bpe(test::mixed_text(), 380, {"<|endoftext|>", "<|end|>of\n"});
}

ParallelIds encode_by(const BpeTokenizer& tokenizer, std::string_view text, int64_t threads,
                      size_t chunk) {
  ParallelIds out;
  encode_in_parallel(
      tokenizer, text, threads,
      [&](std::span<const int64_t> ids) { out.insert(out.end(), ids.begin(), ids.end()); }, chunk);
  return out;
}

TEST(BpeParallel, EqualsOneThreadForAnyChunk) {
  for (const bool prefix : {false, true})
    for (const bool regex : {false, true}) {
      BpeModel model = parallel_model();
      model.add_prefix_space = prefix;
      model.use_regex = regex;
      const BpeTokenizer tokenizer(model, "t");
      for (uint64_t seed = 0; seed < 20; ++seed) {
        const std::string text = jumble(4000, seed);
        const ParallelIds expected = tokenizer.encode(text);
        for (const size_t chunk : {1, 7, 64, 1000, 100000})
          ASSERT_EQ(encode_by(tokenizer, text, 3, chunk), expected) << seed << ' ' << chunk;
      }
      for (const std::string text : {"", "a", " ", "<|endoftext|>"})
        EXPECT_EQ(encode_by(tokenizer, text, 2, 1), tokenizer.encode(text));
    }
}

TEST(BpeParallel, LongTextsGoThroughTheTokenizer) {
  const BpeTokenizer tokenizer(parallel_model(), "t");
  const std::string text = jumble(1500000, 3);
  ParallelIds found;
  tokenizer.encode_in_parts(text, 2, [&](std::span<const int64_t> ids) {
    found.insert(found.end(), ids.begin(), ids.end());
  });
  EXPECT_EQ(found, tokenizer.encode(text));
}

TEST(BpeParallel, AWordWithoutEndIsOneChunk) {
  const BpeTokenizer tokenizer(parallel_model(), "t");
  const std::string text(300000, 'a');
  EXPECT_EQ(encode_by(tokenizer, text, 2, 1000), tokenizer.encode(text));
}

TEST(Gpt2WordBorder, IsWhereAWordBeginsInTheWholeText) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const std::string text = jumble(600, seed);
    std::vector<bool> begins(text.size() + 1, false);
    for (size_t at = 0; at < text.size(); at += gpt2_word_length(std::string_view(text).substr(at)))
      begins[at] = true;
    begins[text.size()] = true;
    size_t borders = 0;
    for (size_t from = 0; from < text.size(); ++from) {
      const size_t border = gpt2_word_border(text, from);
      ASSERT_GE(border, std::max<size_t>(from, 1));
      ASSERT_TRUE(begins[border]) << seed << ' ' << from << ' ' << border;
      borders += border == from;
    }
    EXPECT_GT(borders, 5u);
  }
}

TEST(BpeParallel, ACorpusDoesNotDependOnThreads) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "t.json") << write_tokenizer_json(parallel_model());
  std::ofstream(folder / "text", std::ios::binary) << jumble(700000, 5);
  std::string lines;
  for (int i = 0; i < 3000; ++i)
    lines += "{\"text\": \"line " + std::to_string(i) + " of the corpus, isn't it?\"}\n";
  std::ofstream(folder / "lines") << lines;
  DataOptions options{
      .tokenizer = folder / "t.json",
      .sequence = 16,
      .domains = {{.name = "text", .path = folder / "text"},
                  {.name = "lines", .path = folder / "lines", .format = "jsonl_text"}},
      .packing = {.end_of_text = true, .attention = "document"}};
  for (const char* documents : {"file", "blank_line"}) {
    options.packing.documents = documents;
    const Corpus one(options, 1), many(options, 3);
    for (const char* name : {"text", "lines"}) {
      const Tokens &a = one.domain(name).train, &b = many.domain(name).train;
      ASSERT_EQ(a.size(), b.size());
      ParallelIds first(static_cast<size_t>(a.size())), second = first;
      a.copy(0, first);
      b.copy(0, second);
      EXPECT_EQ(first, second);
      EXPECT_TRUE(std::ranges::equal(a.starts(), b.starts()));
    }
  }
}

}  // namespace
}  // namespace moe::data
