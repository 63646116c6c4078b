// Documents: where texts are divided, and what becomes of them in tokens and rows.
#include <fstream>
#include <set>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/json_lines.h>
#include <moe/data/loader.h>

#include "tests/data/numbers.h"
#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_bpe.h"

namespace moe::data {
namespace {

using Strings = std::vector<std::string>;

/// Bodies, and whether the wholes are the text without a gap.
Strings bodies(const std::string& text, const PackingOptions& packing) {
  Strings out;
  std::string all;
  for (const auto& document : divide_documents(text, packing)) {
    out.emplace_back(document.body);
    all += document.whole;
    EXPECT_NE(document.whole.find(document.body), std::string::npos);
  }
  if (!out.empty()) {
    EXPECT_EQ(all, text);
  }
  return out;
}

TEST(Documents, EndWhereTheRuleSays) {
  const PackingOptions blank{.documents = "blank_line"}, line{.documents = "line"},
      bar{.documents = "separator", .separator = "=="}, file;
  EXPECT_EQ(bodies("a\nb\n\nc\n", blank), (Strings{"a\nb", "c"}));
  EXPECT_EQ(bodies("\n \n a\r\nb\r\n\t\r\n\r\nc", blank), (Strings{" a\r\nb", "c"}));
  EXPECT_EQ(bodies("a\nb\n\nc\r\n", line), (Strings{"a", "b", "c"}));
  EXPECT_EQ(bodies("==a====b=c==", bar), (Strings{"a", "b=c"}));
  EXPECT_EQ(bodies("a\n\nb", file), (Strings{"a\n\nb"}));
  for (const auto& packing : {blank, line, bar, file}) EXPECT_EQ(bodies("", packing), Strings{});
  EXPECT_EQ(bodies("\n\n \n", blank), Strings{});
  EXPECT_EQ(bodies("====", bar), Strings{});
}

TEST(Documents, OptionsThatDoNotFitAreRefused) {
  const auto message = [](const PackingOptions& packing) {
    return test::message_of([&] { packing.validate("data.packing"); });
  };
  EXPECT_NE(message({.documents = "page"}).find("documents"), std::string::npos);
  EXPECT_NE(message({.attention = "all"}).find("attention"), std::string::npos);
  EXPECT_NE(message({.documents = "separator"}).find("no separator"), std::string::npos);
  EXPECT_NE(message({.documents = "line", .separator = "x"}).find("a separator"),
            std::string::npos);
  EXPECT_EQ(message({.documents = "separator", .separator = "x"}), "");
  EXPECT_ERROR(make_layout({.end_of_text = true}, ByteTokenizer(), 1), "end-of-text token");
}

std::string letters(const Tokens& tokens) {
  std::vector<int64_t> ids(static_cast<size_t>(tokens.size()));
  tokens.copy(0, ids);
  return ByteTokenizer().decode(ids);
}

Tokens bytes_of_documents(const std::string& text, PackingOptions packing) {
  return tokens_of_documents(nullptr, text, ByteTokenizer(),
                             make_layout(packing, ByteTokenizer(), 1));
}

TEST(Documents, BytesStayMappedAndKnowWhereTheyBegin) {
  const std::string text = "\nab\n\ncde\n\nf\n";
  PackingOptions packing{.documents = "blank_line", .attention = "document"};
  const Tokens apart = bytes_of_documents(text, packing);
  EXPECT_EQ(letters(apart), text);
  EXPECT_EQ(std::vector<int64_t>(apart.starts().begin(), apart.starts().end()),
            (std::vector<int64_t>{0, 5, 10}));
  EXPECT_EQ(apart.document_begin(4), 0);
  EXPECT_EQ(apart.document_begin(5), 5);
  EXPECT_EQ(apart.document_begin(11), 10);
  packing.attention = "stream";
  EXPECT_FALSE(bytes_of_documents(text, packing).has_documents());
}

TEST(Documents, TheEndOfTextTokenReplacesWhatSeparates) {
  const BpeTokenizer tokenizer(test::tiny_bpe(test::mixed_text(), 300, {"<|endoftext|>"}), "t");
  const int64_t end = tokenizer.end_of_text().value();
  std::vector<int64_t> expected = tokenizer.encode("The cat");
  expected.push_back(end);
  const auto hat = tokenizer.encode("a hat");
  expected.insert(expected.end(), hat.begin(), hat.end());
  expected.push_back(end);
  for (const char* attention : {"stream", "document"}) {
    const auto layout = make_layout(
        {.documents = "blank_line", .end_of_text = true, .attention = attention}, tokenizer, 2);
    const Tokens tokens = tokens_of_documents(nullptr, "The cat\n\n\na hat\n", tokenizer, layout);
    std::vector<int64_t> ids(static_cast<size_t>(tokens.size()));
    tokens.copy(0, ids);
    EXPECT_EQ(ids, expected);
    EXPECT_EQ(tokens.starts().size(), attention == std::string("stream") ? 0u : 2u);
    const Tokens lines = read_json_texts("{\"text\": \"The cat\"}\n{\"text\": \"a hat\"}\n",
                                         tokenizer, "x", 1, layout);
    ids.assign(static_cast<size_t>(lines.size()), 0);
    lines.copy(0, ids);
    EXPECT_EQ(ids, expected);
  }
  const auto whole = make_layout({.end_of_text = true}, tokenizer, 1);
  const Tokens file = tokens_of_documents(nullptr, "The cat", tokenizer, whole);
  EXPECT_EQ(file[file.size() - 1], end);
}

TEST(Documents, JsonLinesKeepTheirMarks) {
  const auto layout = make_layout({.attention = "document"}, ByteTokenizer(), 2);
  const Tokens tokens = read_prompt_completion(
      "{\"prompt\": \"Q\", \"completion\": \"A\"}\n\n{\"prompt\": \"R\", \"completion\": \"BC\"}",
      ByteTokenizer(), "x", 1, layout);
  EXPECT_EQ(letters(tokens), "QA\n\nRBC\n\n");
  EXPECT_EQ(tokens.document_begin(8), 4);
  std::string marks;
  for (int64_t i = 0; i < tokens.size(); ++i) marks += tokens.is_trained(i) ? '1' : '0';
  EXPECT_EQ(marks, "011101111");
  EXPECT_ERROR(read_json_texts("{\"text\": \"\"}", ByteTokenizer(), "x"), "line 1 of x");
  EXPECT_ERROR(read_json_texts("\n{\"t\": \"\"}", ByteTokenizer(), "x"), "\"text\" in line 2 of x");
}

/// Documents of 1, 2, …, 9 letters: the first of each is a capital.
std::string growing_documents() {
  std::string out;
  for (int length = 1; length <= 9; ++length)
    out += std::string(1, static_cast<char>('A' + length)) +
           std::string(static_cast<size_t>(length - 1), static_cast<char>('a' + length));
  return out;
}

Tokens growing_tokens() {
  const std::string text = growing_documents();
  std::vector<int32_t> ids(text.begin(), text.end());
  std::vector<int64_t> starts;
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] < 'a') starts.push_back(static_cast<int64_t>(i));
  return Tokens(ids, {}, starts);
}

bool begins_document(int64_t token) {
  return token >= 'A' && token < 'a';
}

std::vector<int64_t> lengths_of(const Runs& runs) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < runs.count(); ++i) out.push_back(runs.length(i));
  return out;
}

/// What holds for every batch of documents that stand apart: a document is a sequence, a row's end
/// is one too, and what begins a document is no target.
void expect_documents(const Batch& batch) {
  const Sequences& sequences = batch.inputs.tokens.sequences;
  const auto ids = numbers_of(batch.inputs.tokens.ids_T), targets = numbers_of(batch.targets);
  ASSERT_EQ(sequences.tokens(), static_cast<int64_t>(ids.size()));
  ASSERT_EQ(sequences.rows().tokens(), sequences.tokens());
  std::set<int64_t> begins, rows;
  for (int64_t i = 0; i < sequences.count(); ++i) begins.insert(sequences.runs.begin(i));
  for (int64_t i = 0; i < sequences.rows().count(); ++i) rows.insert(sequences.rows().begin(i));
  for (size_t t = 0; t < ids.size(); ++t) {
    EXPECT_TRUE(targets[t] == kIgnoredTarget || !begins_document(targets[t]));
    const auto at = static_cast<int64_t>(t);
    EXPECT_EQ(begins.contains(at), rows.contains(at) || begins_document(ids[t])) << t;
  }
}

int64_t targets_in(const Batch& batch) {
  return batch.targets.ne(kIgnoredTarget).sum().item<int64_t>();
}

TEST(PackedEvalPass, PredictsEveryTokenButTheFirstOfEachDocumentOnce) {
  const Tokens tokens = growing_tokens();
  for (const int64_t S : {int64_t{1}, int64_t{2}, int64_t{4}, int64_t{5}, int64_t{8}, int64_t{20},
                          int64_t{45}, int64_t{60}, INT64_MAX}) {
    const EvalPass pass(tokens, S, 3);
    int64_t targets = 0, inputs = 0;
    for (int64_t i = 0; i < pass.batches(); ++i) {
      const Batch batch = pass.batch(i);
      const TokenList& list = batch.inputs.tokens;
      expect_documents(batch);
      EXPECT_EQ(list.first_token, inputs);
      EXPECT_LE(list.sequences.rows().longest(), S);
      targets += targets_in(batch);
      inputs += list.ids_T.size(0);
      // Documents that fit are whole: a row begins with one, unless the document is longer.
      for (int64_t row = 0; row < list.sequences.rows().count(); ++row) {
        const int64_t first = list.ids_T[list.sequences.rows().begin(row)].item<int64_t>();
        EXPECT_TRUE(begins_document(first) || first - 'a' > S) << first;
      }
    }
    EXPECT_EQ(inputs, tokens.size() - 1) << S;
    EXPECT_EQ(targets, tokens.size() - 9) << S;
  }
}

TEST(PackedEvalPass, RowsEndWhereTheirDocumentsEnd) {
  // Documents of 1, 2, …, 9 tokens in rows of up to 8: 1+2+3, 4, 5, 6, 7, 8, and 9 in two; the last
  // token is a target only.
  const EvalPass pass(growing_tokens(), 8, 16);
  const Sequences sequences = pass.batch(0).inputs.tokens.sequences;
  EXPECT_EQ(lengths_of(sequences.packed_rows), (std::vector<int64_t>{6, 4, 5, 6, 7, 8, 8}));
  EXPECT_EQ(lengths_of(sequences.runs), (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 8}));
}

TEST(PackedEvalPass, RanksShareEachBatch) {
  const EvalPass pass(growing_tokens(), 8, 3);
  for (int64_t i = 0; i < pass.batches(); ++i) {
    const Batch whole = pass.batch(i);
    std::vector<at::Tensor> ids, targets;
    std::vector<int64_t> lengths;
    for (int64_t rank = 0; rank < 2; ++rank) {
      const Batch part = pass.batch(i, rank_rows(3, rank, 2));
      expect_documents(part);
      ids.push_back(part.inputs.tokens.ids_T);
      targets.push_back(part.targets);
      for (const int64_t length : lengths_of(part.inputs.tokens.sequences.runs))
        lengths.push_back(length);
    }
    EXPECT_TRUE(at::equal(at::cat(ids), whole.inputs.tokens.ids_T));
    EXPECT_TRUE(at::equal(at::cat(targets), whole.targets));
    EXPECT_EQ(lengths, lengths_of(whole.inputs.tokens.sequences.runs));
  }
}

class PackedLoader : public testing::Test {
 protected:
  std::shared_ptr<const Corpus> corpus(int64_t sequence, const std::string& attention) {
    std::string text;
    for (int round = 0; round < 6; ++round) text += growing_documents() + "\n";
    std::string divided;  // a newline before each document is what separates it
    for (const char c : text)
      if (c != '\n') divided += (c < 'a' ? "\n" : "") + std::string(1, c);
    std::ofstream(folder_ / "text") << divided.substr(1);
    return std::make_shared<Corpus>(
        DataOptions{.sequence = sequence,
                    .domains = {{.name = "d", .train = folder_ / "text"}},
                    .packing = {.documents = "line", .attention = attention}});
  }
  test::TemporaryFolder folder_;
};

TEST_F(PackedLoader, RowsBeginWithTheirDocumentAndKeepTheNextApart) {
  for (const int64_t S : {3, 5, 12, 40}) {
    const Loader loader(corpus(S, "document"), {.batch = 16, .seed = 2});
    for (int64_t step = 0; step < 10; ++step) {
      const Batch batch = loader.batch(step);
      const TokenList& tokens = batch.inputs.tokens;
      expect_documents(batch);
      EXPECT_EQ(tokens.first_token, step * 16 * S);
      EXPECT_EQ(tokens.sequences.rows().equal_length(), S);
      EXPECT_EQ(tokens.sequences.rows().count(), 16);
      if (S < 10) continue;
      EXPECT_EQ(tokens.sequences.packed_rows.count(), 16);
      EXPECT_GT(tokens.sequences.count(), 16);
      for (int64_t row = 0; row < 16; ++row)
        EXPECT_TRUE(begins_document(tokens.ids_T[row * S].item<int64_t>()));
    }
  }
}

TEST_F(PackedLoader, DrawsTokensEvenly) {
  const Loader loader(corpus(4, "document"), {.batch = 512, .seed = 2});
  double of_long = 0, of_short = 0;
  for (int64_t step = 0; step < 100; ++step) {
    const at::Tensor first = loader.batch(step).inputs.tokens.ids_T.view({512, 4}).select(1, 0);
    of_long += first.eq('A' + 9).logical_or(first.eq('a' + 9)).sum().item<double>();
    of_short += first.eq('A' + 4).logical_or(first.eq('a' + 4)).sum().item<double>();
  }
  // 319 tokens can be drawn. Of each document of 9 letters all 10 tokens belong to a piece that
  // begins with a letter (of the last one 5 can be drawn); of 4 letters the newline is its own.
  EXPECT_NEAR(of_long / (100 * 512), 55.0 / 319, 0.01);
  EXPECT_NEAR(of_short / (100 * 512), 24.0 / 319, 0.01);
}

TEST_F(PackedLoader, BatchesDependOnSeedAndStepAloneAndOnNoRank) {
  const auto data = corpus(12, "document");
  const Loader loader(data, {.batch = 6, .seed = 4});
  const Batch whole = loader.batch(7, 1, 2);
  const Batch again = Loader(data, {.batch = 6, .seed = 4}).batch(7, 1, 2);
  EXPECT_TRUE(at::equal(again.inputs.tokens.ids_T, whole.inputs.tokens.ids_T));
  EXPECT_EQ(lengths_of(again.inputs.tokens.sequences.runs),
            lengths_of(whole.inputs.tokens.sequences.runs));
  std::vector<at::Tensor> inputs, targets;
  std::vector<int64_t> documents;
  for (int64_t rank = 0; rank < 3; ++rank) {
    const Batch part = loader.batch(7, 1, 2, rank_rows(6, rank, 3));
    inputs.push_back(part.inputs.tokens.ids_T);
    targets.push_back(part.targets);
    for (const int64_t length : lengths_of(part.inputs.tokens.sequences.runs))
      documents.push_back(length);
  }
  EXPECT_TRUE(at::equal(at::cat(inputs), whole.inputs.tokens.ids_T));
  EXPECT_TRUE(at::equal(at::cat(targets), whole.targets));
  EXPECT_EQ(documents, lengths_of(whole.inputs.tokens.sequences.runs));
}

TEST_F(PackedLoader, AStreamIsReadAsOneText) {
  const Loader loader(corpus(12, "stream"), {.batch = 16, .seed = 2});
  const Batch batch = loader.batch(0);
  EXPECT_EQ(batch.inputs.tokens.sequences.runs.equal_length(), 12);
  EXPECT_EQ(batch.inputs.tokens.sequences.packed_rows.count(), 0);
  EXPECT_EQ(targets_in(batch), 16 * 12);
}

TEST(Documents, NoDocumentIsInBothPartsOfAFile) {
  const test::TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 20; ++i) text += "document " + std::to_string(100 + i) + "\n\n";
  std::ofstream(folder / "text") << text;
  const Corpus corpus({.sequence = 4,
                       .domains = {{.name = "d", .path = folder / "text", .valid_share = 0.12}},
                       .packing = {.documents = "blank_line"}});
  const std::string valid = letters(corpus.domain("d").valid);
  EXPECT_EQ(valid, text.substr(text.size() - valid.size()));
  EXPECT_EQ(valid.rfind("document 117", 0), 0u) << valid;
}

TEST(Tokens, RefusesStartsThatAreNone) {
  EXPECT_THROW(Tokens({1, 2, 3}, {}, {1}), Error);
  EXPECT_THROW(Tokens({1, 2, 3}, {}, {0, 2, 2}), Error);
  EXPECT_THROW(Tokens({1, 2, 3}, {}, {0, 3}), Error);
}

}  // namespace
}  // namespace moe::data
