#pragma once
// Batches of next-token prediction. T tokens.

#include <memory>
#include <vector>

#include <moe/data/batch.h>
#include <moe/data/corpus.h>
#include <moe/data/domain_choice.h>

namespace moe::data {

struct LoaderOptions {
  int64_t batch = 32;  // rows of one micro-batch over all ranks
  uint64_t seed = 1;
};

/// Training batches: each row is a window of `sequence` tokens, and their targets, that begins
/// anywhere in a domain, domains drawn by weight. Row r of micro-batch m is row m * batch + r of
/// the step, so that 2 micro-batches of 4 rows are the same data as 1 of 8. A window of masked data
/// may hold no target at all.
///
/// Where documents stand apart (Tokens::has_documents), a token is drawn as evenly, and the row
/// begins with its document, or with that piece of a longer one that holds it, if pieces of
/// `sequence` tokens are counted from the document's beginning; the documents behind it follow, and
/// the last may be cut. Each is a sequence of its own. The first token of a document is no target
/// (there is nothing to predict it from); its last, such as an end-of-text token, is.
class Loader final : public BatchSource {
 public:
  Loader(std::shared_ptr<const Corpus> corpus, const LoaderOptions& options);

  Batch batch(int64_t step, int64_t micro, int64_t accumulation, RowRange rows) const override;
  /// The whole micro-batch.
  Batch batch(int64_t step, int64_t micro = 0, int64_t accumulation = 1) const {
    return batch(step, micro, accumulation, {0, options_.batch});
  }
  int64_t rows() const override { return options_.batch; }
  int64_t tokens() const override { return options_.batch * corpus_->sequence(); }

  const Corpus& corpus() const { return *corpus_; }

 private:
  std::shared_ptr<const Corpus> corpus_;
  LoaderOptions options_;
  DomainChoice choice_;
};

/// One pass over tokens in windows that do not overlap: target k of the pass is token k + 1. The
/// last window is as long as what is left.
///
/// Where documents stand apart, a row takes as many of them as fit in whole and ends behind them; a
/// document longer than a row is cut every `sequence` tokens. So the loss of a document does not
/// depend on its neighbours, and every token but the first of each is predicted once.
class EvalPass final : public EvalSource {
 public:
  /// Tokens are of `domain` out of `num_domains`. `max_batches` < 0: all of it. Throws ConfigError
  /// for fewer than 2 tokens.
  EvalPass(Tokens tokens, int64_t sequence, int64_t batch, int64_t max_batches = -1,
           int64_t domain = 0, int64_t num_domains = 1);

  int64_t batches() const override { return batches_; }
  int64_t rows() const override { return rows_; }
  Batch batch(int64_t index, RowRange rows) const override;
  Batch batch(int64_t index) const { return batch(index, {0, rows_}); }
  /// Rows in all batches together, also beyond max_batches.
  int64_t rows_in_all() const { return rows_in_all_; }

 private:
  /// The first token of row `index`, or where the data ends.
  int64_t row_begin(int64_t index) const;

  Tokens tokens_;
  int64_t sequence_;
  int64_t rows_;
  std::vector<int64_t> packed_;  // where rows of documents begin; empty for a stream
  int64_t rows_in_all_ = 0;
  int64_t batches_ = 0;
  int64_t domain_, num_domains_;
};

}  // namespace moe::data
