// Token files: what is written comes back, and nothing else is believed.
#include <cstring>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/corpus.h>
#include <moe/data/token_file.h>
#include <moe/formats/checksum.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

/// A tokenizer of any size that is asked for its ids only.
class WideTokenizer final : public Tokenizer {
 public:
  std::string name() const override { return "wide"; }
  int64_t vocabulary() const override { return 100000; }
  std::vector<int64_t> encode(std::string_view) const override { return {}; }
  std::string decode(std::span<const int64_t>) const override { return ""; }
  std::shared_ptr<const Tokenizer> without_special() const override {
    return std::make_shared<WideTokenizer>();
  }
};

void expect_same(const Tokens& a, const Tokens& b) {
  ASSERT_EQ(a.size(), b.size());
  EXPECT_TRUE(std::ranges::equal(a.starts(), b.starts()));
  EXPECT_EQ(a.is_masked(), b.is_masked());
  for (int64_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i], b[i]);
    EXPECT_EQ(a.is_trained(i), b.is_trained(i));
  }
}

class TokenFile : public testing::Test {
 protected:
  Path path() const { return folder_ / "tokens"; }
  Tokens write_and_read(const Tokens& tokens, const Tokenizer& tokenizer) {
    write_token_file(real_files(), path(), tokens, tokenizer);
    return read_token_file(MappedFile::open(path()), tokenizer);
  }
  std::string content() const { return read_file(real_files(), path(), 1 << 20); }
  /// What reading `bytes` says, with the checksum put right first if `mend`.
  std::string message(std::string bytes, bool mend = true) {
    if (mend && bytes.size() >= 64) {
      const uint64_t sum = formats::checksum_of(bytes.substr(0, 56) + bytes.substr(64));
      std::memcpy(bytes.data() + 56, &sum, 8);
    }
    std::ofstream(path(), std::ios::binary) << bytes;
    return test::message_of([&] { read_token_file(MappedFile::open(path()), ByteTokenizer()); });
  }
  test::TemporaryFolder folder_;
};

TEST_F(TokenFile, GivesBackIdsDocumentsAndMarks) {
  for (const size_t count : {1, 3, 4, 5, 70000}) {
    std::vector<int32_t> ids, wide_ids;
    std::vector<uint8_t> marks;
    for (size_t i = 0; i < count; ++i) {
      ids.push_back(static_cast<int32_t>(i * i % 256));
      wide_ids.push_back(static_cast<int32_t>(i * i % 100000));
      marks.push_back(i % 3 != 0);
    }
    std::vector<int64_t> starts = {0};
    if (count > 3) starts = {0, 1, 3};
    for (const auto& tokens :
         {Tokens(ids), Tokens(ids, marks), Tokens(ids, marks, starts), Tokens(ids, {}, starts)})
      expect_same(write_and_read(tokens, ByteTokenizer()), tokens);
    EXPECT_EQ(content().size() % 2, 0u);
    expect_same(write_and_read(Tokens(wide_ids, {}, starts), WideTokenizer()),
                Tokens(wide_ids, {}, starts));
  }
}

TEST_F(TokenFile, RefusesWhatNoWriterMade) {
  write_token_file(real_files(), path(), Tokens({1, 2, 3, 4, 5}, {0, 1, 1, 0, 1}, {0, 2}),
                   ByteTokenizer());
  const std::string good = content();
  ASSERT_EQ(good.size(), 64u + 16 + 16 + 5);
  ASSERT_EQ(message(good), "");
  const auto with = [&](size_t at, auto value) {
    std::string out = good;
    std::memcpy(out.data() + at, &value, sizeof value);
    return out;
  };
  EXPECT_PRED2(test::contains, message(""), "expected a token file");
  EXPECT_PRED2(test::contains, message(good.substr(0, 63), false), "expected a token file");
  EXPECT_PRED2(test::contains, message(with(0, 'm')), "begins with MOETOKEN");
  EXPECT_PRED2(test::contains, message(with(8, 2)), "expected version 1");
  for (const int bytes : {0, 1, 3, 8})
    EXPECT_PRED2(test::contains, message(with(12, bytes)), "fits");
  for (const uint64_t tokens : {uint64_t{0}, uint64_t{4}, uint64_t{1} << 47, uint64_t{1} << 63,
                                UINT64_MAX, (uint64_t{1} << 63) + 5})
    EXPECT_PRED2(test::contains, message(with(24, tokens)), "fits");
  for (const uint64_t documents : {uint64_t{1}, uint64_t{6}, UINT64_MAX, uint64_t{1} << 61})
    EXPECT_PRED2(test::contains, message(with(32, documents)), "fits");
  EXPECT_PRED2(test::contains, message(with(40, uint64_t{2})), "fits");
  EXPECT_PRED2(test::contains, message(good + "x"), "fits");
  EXPECT_PRED2(test::contains, message(good.substr(0, good.size() - 1)), "fits");
  EXPECT_PRED2(test::contains, message(with(64, uint16_t{256})), "ids in [0, 256)");
  EXPECT_PRED2(test::contains, message(with(88, int64_t{5})), "documents");
  EXPECT_PRED2(test::contains, message(with(88, int64_t{-1})), "documents");
  EXPECT_PRED2(test::contains, message(with(80, int64_t{1})), "documents");
  EXPECT_PRED2(test::contains, message(with(good.size() - 1, uint8_t{2})), "marks");
  EXPECT_PRED2(test::contains, message(with(16, uint64_t{300})), "another of 300 ids");
  EXPECT_PRED2(test::contains, message(with(48, uint64_t{1})), "another");
}

TEST_F(TokenFile, RefusesEveryDamagedByte) {
  write_token_file(real_files(), path(), Tokens({1, 2, 3, 4, 5}, {0, 1, 1, 0, 1}, {0, 2}),
                   ByteTokenizer());
  const std::string good = content();
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    EXPECT_NE(message(bad, false), "") << i;
  }
}

TEST_F(TokenFile, ACorpusReadsItAsTheTextItWasMadeOf) {
  const BpeModel model = test::tiny_bpe(test::mixed_text(), 300, {"<|endoftext|>"});
  std::ofstream(folder_ / "t.json") << write_tokenizer_json(model);
  std::string text;
  for (int i = 0; i < 30; ++i) text += "The cat " + std::to_string(i) + " isn't here.\n\n";
  std::ofstream(folder_ / "text") << text;
  DataOptions options{
      .tokenizer = folder_ / "t.json",
      .sequence = 8,
      .domains = {{.name = "d", .train = folder_ / "text"}},
      .packing = {.documents = "blank_line", .end_of_text = true, .attention = "document"}};
  const Corpus of_text(options);
  write_token_file(real_files(), path(), of_text.domain("d").train, *of_text.tokenizer());
  options.domains[0] = {.name = "d", .train = path(), .format = "tokens"};
  options.packing = {.attention = "document"};
  expect_same(Corpus(options).domain("d").train, of_text.domain("d").train);
  options.packing.attention = "stream";
  expect_same(Corpus(options).domain("d").train, of_text.domain("d").train.without_documents());

  options.packing.attention = "document";
  options.domains[0] = {.name = "d", .path = path(), .valid_share = 0.25, .format = "tokens"};
  const Corpus split(options);
  const Tokens &train = split.domain("d").train, &valid = split.domain("d").valid;
  EXPECT_EQ(train.size() + valid.size(), of_text.domain("d").train.size());
  EXPECT_EQ(train.starts().size() + valid.starts().size(), 30u);
  EXPECT_EQ(valid[0], of_text.domain("d").train[0]);

  write_token_file(real_files(), path(), of_text.domain("d").train.without_documents(),
                   *of_text.tokenizer());
  EXPECT_ERROR(Corpus{options}, "expected documents in the token file");
  options.tokenizer = "byte";
  EXPECT_ERROR(Corpus{options}, "to be made by the tokenizer 'byte'");
}

TEST(Tokens, PartsKeepMarksAndDocuments) {
  const Tokens all({1, 2, 3, 4, 5, 6}, {0, 1, 0, 1, 0, 1}, {0, 2, 5});
  const Tokens part = all.part(1, 6);
  expect_same(part, Tokens({2, 3, 4, 5, 6}, {1, 0, 1, 0, 1}, {0, 1, 4}));
  EXPECT_EQ(all.part(2, 2).size(), 0);
  EXPECT_THROW(all.part(3, 7), Error);
  const std::vector<Tokens> parts = {all.part(0, 1), all.part(1, 6)};
  expect_same(joined(parts, 256), Tokens({1, 2, 3, 4, 5, 6}, {0, 1, 0, 1, 0, 1}, {0, 1, 2, 5}));
  const std::vector<Tokens> mixed = {Tokens({7, 8}), all};
  expect_same(joined(mixed, 256), Tokens({7, 8, 1, 2, 3, 4, 5, 6}, {1, 1, 0, 1, 0, 1, 0, 1}));
}

}  // namespace
}  // namespace moe::data
