#pragma once
// Batches of next-token prediction.
//
// Shapes: B rows, S sequence.

#include <memory>

#include <ATen/core/Tensor.h>

#include <moe/data/corpus.h>

namespace moe::data {

/// The target of a position that is not trained on.
inline constexpr int64_t kIgnoredTarget = -100;

struct Batch {
  at::Tensor input_BS;   // int64
  at::Tensor target_BS;  // int64: the token after input_BS, or kIgnoredTarget
  at::Tensor valid_BS;   // bool, false: behind the end of the data; undefined: no such position
  at::Tensor domain_B;   // int64: index of the row's domain in the corpus
  /// int64: number of the token's document in its row, from 0; undefined: no row holds more than
  /// one, or documents are read as one text.
  at::Tensor document_BS = {};
  int64_t first_token =
      0;  // global number of the token in row 0, column 0: key of counter-based randomness
};

/// Rows [begin, end) of a batch.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};
/// The rows of `rank` out of `world`: contiguous, all ranks together cover each row once.
RowRange rank_rows(int64_t batch, int64_t rank, int64_t world);

struct LoaderOptions {
  int64_t batch = 32;  // rows of one micro-batch over all ranks
  uint64_t seed = 1;
};

/// Training batches: each row is a window of `sequence + 1` tokens that begins anywhere in a
/// domain, domains drawn by weight. A batch depends on (seed, step, micro) alone, so the step is
/// all there is to resume; row r of micro-batch m is row m * batch + r of the step, so that 2
/// micro-batches of 4 rows are the same data as 1 of 8. A window of masked data may hold no target
/// at all.
///
/// Where documents stand apart (Tokens::has_documents), a token is drawn as evenly, and the row
/// begins with its document, or with that piece of a longer one that holds it, if pieces of
/// `sequence` tokens are counted from the document's beginning; the documents behind it follow, and
/// the last may be cut. The first token of a document is no target (there is nothing to predict it
/// from); its last, such as an end-of-text token, is. Const and thread-safe.
class Loader {
 public:
  Loader(std::shared_ptr<const Corpus> corpus, const LoaderOptions& options);

  /// The whole micro-batch, or its rows `rows`. `accumulation` is the number of micro-batches of a
  /// step.
  Batch batch(int64_t step, int64_t micro = 0, int64_t accumulation = 1) const;
  Batch batch(int64_t step, int64_t micro, int64_t accumulation, RowRange rows) const;

  const Corpus& corpus() const { return *corpus_; }
  int64_t rows() const { return options_.batch; }
  /// Tokens of one micro-batch over all ranks.
  int64_t tokens() const { return options_.batch * corpus_->sequence(); }

 private:
  std::shared_ptr<const Corpus> corpus_;
  LoaderOptions options_;
  std::vector<double> cumulative_;  // of the domains' weights
};

/// One pass over tokens in windows that do not overlap: target k of the pass is token k + 1. The
/// last window is filled up with token 0, and the last batch with such rows, whose targets are all
/// ignored, so that every batch has the same shape (and every rank a part of it).
///
/// Where documents stand apart, a row takes as many of them as fit in whole and is filled up behind
/// them; a document longer than a row is cut every `sequence` tokens. So the loss of a document
/// does not depend on its neighbours, and every token but the first of each is predicted once.
/// Const and thread-safe.
class EvalPass {
 public:
  /// `domain` goes into domain_B. `max_batches` < 0: all of it. Throws ConfigError for fewer than 2
  /// tokens.
  EvalPass(Tokens tokens, int64_t sequence, int64_t batch, int64_t max_batches = -1,
           int64_t domain = 0);

  int64_t batches() const { return batches_; }
  /// Rows that hold tokens, in all batches together (also beyond max_batches).
  int64_t rows() const { return rows_in_all_; }
  Batch batch(int64_t index) const { return batch(index, {0, rows_}); }
  Batch batch(int64_t index, RowRange rows) const;

 private:
  /// A row's inputs: tokens [begin, begin + count).
  struct Row {
    int64_t begin, count;
  };
  Row row(int64_t index) const;

  Tokens tokens_;
  int64_t sequence_;
  int64_t rows_;
  std::vector<Row> packed_;  // empty for a stream
  int64_t rows_in_all_ = 0;
  int64_t batches_ = 0;
  int64_t domain_;
};

}  // namespace moe::data
