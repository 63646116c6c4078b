#pragma once
// The two stages of an expert (first product, second product; or the gradients of the hidden units
// and what follows from them) on few experts at a time, so that what the first makes is still in
// the cache when the second reads it, and a few experts' memory serves all.

#include <algorithm>
#include <array>
#include <vector>

#include <moe/ops/cpu/expert_mlp.h>
#include <moe/ops/cpu/product.h>

namespace moe::ops::cpu {

/// Consecutive experts [first, last) and their rows.
struct Wave {
  int64_t first, last, row, rows;
};

class Waves {
 public:
  explicit Waves(const Experts& experts) {
    const int64_t most = kRowsPerThread * threads();
    for (int64_t e = 0; e < experts.count; ++e) {
      if (waves_.empty() || waves_.back().rows + experts.rows(e) > most)
        waves_.push_back({e, e, experts.begin(e), 0});
      waves_.back().last = e + 1;
      waves_.back().rows += experts.rows(e);
    }
    std::array<int64_t, kSlots> rows = {};
    for (int64_t w = 0; w < count(); ++w)
      rows[slot(w)] = std::max(rows[slot(w)], waves_[static_cast<size_t>(w)].rows);
    for (size_t s = 0; s < kSlots; ++s) slot_rows_[s + 1] = slot_rows_[s] + rows[s];
  }

  /// Rows of the memory that the stages share, and where in it expert e of wave w has its first.
  int64_t rows() const { return slot_rows_.back(); }
  int64_t row(int64_t w, const Experts& experts, int64_t e) const {
    return slot_rows_[slot(w)] + experts.begin(e) - waves_[static_cast<size_t>(w)].row;
  }

  /// Calls first(w, wave, gates) and second(w, wave, gates) for each wave, a wave's second stage
  /// behind the next one's first, so that nobody waits for the slowest thread.
  template <class First, class Second>
  void in_order(const First& first, const Second& second) const {
    for (int64_t w = 0; w <= count(); ++w) {
      if (w < count())
        first(w, waves_[static_cast<size_t>(w)], Gates{w < kLead ? -1 : count() + w - kLead, w});
      if (w > 0) second(w - 1, waves_[static_cast<size_t>(w - 1)], Gates{w - 1, count() + w - 1});
    }
  }

 private:
  static constexpr int64_t kRowsPerThread = 512, kLead = 3;
  static constexpr size_t kSlots = kLead;

  int64_t count() const { return static_cast<int64_t>(waves_.size()); }
  static size_t slot(int64_t w) { return static_cast<size_t>(w) % kSlots; }

  std::vector<Wave> waves_;
  std::array<int64_t, kSlots + 1> slot_rows_ = {};
};

}  // namespace moe::ops::cpu
