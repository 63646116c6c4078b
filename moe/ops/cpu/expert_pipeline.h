#pragma once
// The two stages of an expert (first product, second product; or the gradients of the hidden units
// and what follows from them) on batches of a few experts at a time, so that what the first makes
// is still in the cache when the second reads it, and the memory of a few batches serves all.

#include <algorithm>
#include <array>
#include <vector>

#include <moe/ops/cpu/expert_mlp.h>
#include <moe/ops/cpu/product.h>

namespace moe::ops::cpu {

/// Consecutive experts [first, last) and their rows.
struct ExpertBatch {
  int64_t first, last, row, rows;
};

class ExpertPipeline {
 public:
  explicit ExpertPipeline(const Experts& experts) {
    const int64_t most = kRowsPerThread * threads();
    for (int64_t e = 0; e < experts.count; ++e) {
      if (batches_.empty() || batches_.back().rows + experts.rows(e) > most)
        batches_.push_back({e, e, experts.begin(e), 0});
      batches_.back().last = e + 1;
      batches_.back().rows += experts.rows(e);
    }
    std::array<int64_t, kSlots> rows = {};
    for (int64_t i = 0; i < count(); ++i) rows[slot(i)] = std::max(rows[slot(i)], batch(i).rows);
    for (size_t s = 0; s < kSlots; ++s) slot_rows_[s + 1] = slot_rows_[s] + rows[s];
  }

  /// Rows of the memory that the stages share, and where in it expert e of batch i has its first.
  int64_t rows() const { return slot_rows_.back(); }
  int64_t row(int64_t i, const Experts& experts, int64_t e) const {
    return slot_rows_[slot(i)] + experts.begin(e) - batch(i).row;
  }

  /// Calls first(i, batch, dependencies) and second(i, batch, dependencies) for each batch, a
  /// batch's second stage behind the next one's first, so that no thread waits for the slowest.
  template <class First, class Second>
  void for_each_stage(const First& first, const Second& second) const {
    // Event i: the first stage of batch i is done; event count() + i: the second.
    for (int64_t i = 0; i <= count(); ++i) {
      if (i < count()) {
        // The memory of this batch was that of the batch kSlots before.
        const int64_t memory_is_free = i < kAhead ? -1 : count() + i - kAhead;
        first(i, batch(i), Dependencies{memory_is_free, i});
      }
      if (i > 0) second(i - 1, batch(i - 1), Dependencies{i - 1, count() + i - 1});
    }
  }

 private:
  static constexpr int64_t kRowsPerThread = 512, kAhead = 3;
  static constexpr size_t kSlots = kAhead;

  int64_t count() const { return static_cast<int64_t>(batches_.size()); }
  const ExpertBatch& batch(int64_t i) const { return batches_[static_cast<size_t>(i)]; }
  static size_t slot(int64_t i) { return static_cast<size_t>(i) % kSlots; }

  std::vector<ExpertBatch> batches_;
  std::array<int64_t, kSlots + 1> slot_rows_ = {};
};

}  // namespace moe::ops::cpu
