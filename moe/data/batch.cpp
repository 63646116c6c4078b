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
  return {batch * rank / world, batch * (rank + 1) / world};
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

}  // namespace moe::data
