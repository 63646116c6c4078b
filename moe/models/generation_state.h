#pragma once
// What a model remembers of a running batch of sequences.

#include <memory>
#include <vector>

#include <moe/layers/block.h>

namespace moe::models {

/// One state a block, and how many tokens of each sequence the model has seen. Sequences join and
/// leave between calls; their lengths differ. Owned by whoever generates: models stay const.
class GenerationState {
 public:
  GenerationState() = default;
  GenerationState(std::vector<layers::BlockState> blocks, int64_t capacity);

  int64_t size() const { return static_cast<int64_t>(lengths_.size()); }
  /// Positions of one sequence, at most.
  int64_t capacity() const { return capacity_; }
  /// Tokens seen of each sequence.
  const std::vector<int64_t>& lengths() const { return lengths_; }
  int64_t bytes() const;

  /// Empty slots for `count` sequences behind those there are.
  void join(int64_t count = 1);
  /// Lets the other sequences go; those that stay get the numbers 0, 1, … in the order of `slots`.
  void keep(const std::vector<int64_t>& slots);
  void leave(int64_t slot);

  /// The sequences of a call that brings `fresh[n]` new tokens to slot n (0: none).
  Sequences sequences(const std::vector<int64_t>& fresh) const;

  // For models.
  std::vector<layers::BlockState>& blocks() { return blocks_; }
  void advance(const Sequences& sequences);

 private:
  std::vector<layers::BlockState> blocks_;
  std::vector<int64_t> lengths_;
  int64_t capacity_ = 0;
};

}  // namespace moe::models
