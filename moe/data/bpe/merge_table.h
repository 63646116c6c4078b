#pragma once
// Applying merges to a word.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <moe/data/bpe/bpe_model.h>

namespace moe::data {

/// Merges by pair of tokens, in one flat table. Immutable and thread-safe.
class MergeTable {
 public:
  explicit MergeTable(std::span<const BpeMerge> merges);
  /// Merge i has the rank `ranks[i]`; several may have the same.
  MergeTable(std::span<const BpeMerge> merges, std::span<const uint32_t> ranks);

  /// Merges the tokens of one word in place: again and again the pair of lowest rank, the leftmost
  /// of equals, until no pair has a merge. Quadratic for short words, n·log n for long ones.
  void merge(std::vector<uint32_t>& word) const;

 private:
  /// A pair's merge; rank kNone when it has none.
  struct Found {
    uint32_t rank, result;
  };
  struct Entry {
    uint64_t pair;
    Found found;
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  Found find(uint32_t left, uint32_t right) const;
  void merge_short(std::vector<uint32_t>& word) const;
  void merge_long(std::vector<uint32_t>& word) const;

  std::vector<Entry> entries_;  // a power of two of them, probed one after another
  int shift_;                   // from 64 bits of hash to a place
};

}  // namespace moe::data
