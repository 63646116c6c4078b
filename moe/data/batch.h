#pragma once
// What is trained and evaluated on, whatever it is: text or images. T tokens, N images.

#include <memory>
#include <string>
#include <vector>

#include <moe/data/tokenizer.h>
#include <moe/flow/inputs.h>

namespace moe::data {

using at::Tensor;

struct DataOptions;

/// The target of a token that is not trained on.
inline constexpr int64_t kIgnoredTarget = -100;

/// What a model reads, and what it should answer.
struct Batch {
  ModelInputs inputs = {};
  /// A row for each row of the model's output: (T,) int64 ids of the tokens that follow, or
  /// kIgnoredTarget; (N,) int64 classes; (N,) or (N, outputs) floating numbers.
  Tensor targets = {};
};

/// Rows [begin, end) of a batch.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};
/// The rows of `rank` out of `world`: contiguous, all ranks together cover each row once.
RowRange rank_rows(int64_t batch, int64_t rank, int64_t world);

// What sources check of what they are asked for.
/// Throws ConfigError for a number of rows that no batch can have.
void check_batch_rows(int64_t rows);
/// Throws moe::Error unless `rows` lie within a batch of `batch` rows.
void check_rows(RowRange rows, int64_t batch);
/// Throws moe::Error unless `step` has a micro-batch `micro` among `accumulation`.
void check_place(int64_t step, int64_t micro, int64_t accumulation);

/// A micro-batch of `rows` rows of `row_tokens` tokens (or images) each.
struct MicroBatch {
  int64_t step, micro, accumulation, rows, row_tokens;
};
/// The global number of the first token of row `row`: ((step · accumulation + micro) · rows + row)
/// · row_tokens. Throws moe::Error where numbers of the micro-batch reach 2^63.
int64_t first_token_of_row(const MicroBatch& batch, int64_t row);

/// Training batches. A batch depends on the seed it was opened with, `step` and `micro` alone, so
/// the step is all there is to resume; its rows depend on nothing but their number, so ranks may
/// split them. Const and thread-safe.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  /// Rows `rows` of micro-batch `micro` of the `accumulation` of a step; there may be none.
  /// inputs.tokens.first_token is the global number of its first token.
  virtual Batch batch(int64_t step, int64_t micro, int64_t accumulation, RowRange rows) const = 0;
  /// Rows of one micro-batch over all ranks.
  virtual int64_t rows() const = 0;
  /// Tokens (or images) of one micro-batch over all ranks: what progress counts.
  virtual int64_t tokens() const = 0;
};

/// One pass over data that is kept apart for evaluation. Const and thread-safe.
class EvalSource {
 public:
  virtual ~EvalSource() = default;
  virtual int64_t batches() const = 0;
  /// Rows of a batch over all ranks; the last batch has fewer where data ends.
  virtual int64_t rows() const = 0;
  /// Rows `rows` of batch `index`; those behind the end of the data are left out, so there may be
  /// none.
  virtual Batch batch(int64_t index, RowRange rows) const = 0;
};

/// Evaluation data under the name it has in metrics.
struct EvalSet {
  std::string name;
  std::shared_ptr<const EvalSource> source;
};

/// What data demands of a model.
struct DataTraits {
  /// Text: the largest id plus 1, and the tokens of the longest row; 0: no text.
  int64_t vocabulary = 0, sequence = 0;
  /// Images: the shape of one, and the number of classes; 0: no images, no classes.
  int64_t channels = 0, height = 0, width = 0, classes = 0;
};

/// The data of a run: what a `[data]` table describes. Const and thread-safe.
class Dataset {
 public:
  virtual ~Dataset() = default;
  /// Batches of `rows` rows, over all ranks, drawn from `seed`.
  virtual std::shared_ptr<const BatchSource> training(int64_t rows, uint64_t seed) const = 0;
  /// Everything that is there to evaluate on, in batches of `rows` rows and at most `max_batches`
  /// of them a set (-1: all).
  virtual std::vector<EvalSet> evaluation(int64_t rows, int64_t max_batches) const = 0;
  virtual DataTraits traits() const = 0;
  /// Null where nothing is text.
  virtual std::shared_ptr<const Tokenizer> tokenizer() const { return nullptr; }
  /// What `tokens` counts: "tokens" or "images".
  virtual std::string unit() const { return "tokens"; }
};

/// Opens the data that `options` describe; up to `threads` threads read it.
std::shared_ptr<const Dataset> open_data(const DataOptions& options, int64_t threads);

}  // namespace moe::data
