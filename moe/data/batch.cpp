#include <moe/base/error.h>
#include <moe/data/batch.h>

namespace moe::data {

namespace {

constexpr const char* kPlaceOfBatch = "data/batch";
constexpr int64_t kMostRows = int64_t{1} << 24;

}  // namespace

RowRange rank_rows(int64_t batch, int64_t rank, int64_t world) {
  check(world >= 1 && rank >= 0 && rank < world && batch >= 0, kPlaceOfBatch,
        "expected a rank in [0, ", world, ") and batch >= 0, got rank ", rank, " and batch ", batch,
        ". Correct them.");
  // batch · rank / world, in parts that do not leave int64.
  const auto begin = [&](int64_t r) { return batch / world * r + batch % world * r / world; };
  return {begin(rank), begin(rank + 1)};
}

void check_batch_rows(int64_t rows) {
  check<ConfigError>(rows >= 1 && rows <= kMostRows, kPlaceOfBatch, "expected batch in [1, ",
                     kMostRows, "], got ", rows, ". Correct it.");
}

void check_rows(RowRange rows, int64_t batch) {
  check(0 <= rows.begin && rows.begin <= rows.end && rows.end <= batch, kPlaceOfBatch,
        "expected rows within [0, ", batch, "), got [", rows.begin, ", ", rows.end,
        "). Ask for rows that there are.");
}

void check_place(int64_t step, int64_t micro, int64_t accumulation) {
  check(step >= 0 && micro >= 0 && micro < accumulation, kPlaceOfBatch,
        "expected step >= 0 and micro in [0, ", accumulation, "), got step ", step, " and micro ",
        micro, ". Correct them.");
}

int64_t first_token_of_row(const MicroBatch& batch, int64_t row) {
  const auto& [step, micro, accumulation, rows, row_tokens] = batch;
  int64_t end = 0;  // of the micro-batch
  const bool fits =
      !__builtin_mul_overflow(step, accumulation, &end) &&
      !__builtin_add_overflow(end, micro, &end) && !__builtin_mul_overflow(end, rows, &end) &&
      !__builtin_add_overflow(end, rows, &end) && !__builtin_mul_overflow(end, row_tokens, &end);
  check(fits, kPlaceOfBatch, "expected fewer than 2^63 tokens up to step ", step, ", got ",
        accumulation, " micro-batches a step of ", rows, " rows of ", row_tokens,
        ". Train fewer steps, or lower one of the three.");
  return end - (rows - row) * row_tokens;
}

}  // namespace moe::data
