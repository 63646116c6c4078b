#pragma once
// Q tokens of a sequence, C positions up to the last of them.

#include <cstdint>
#include <map>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe {

/// Which positions the tokens of each sequence of a call see, where a layer chose them: (Q, C)
/// bool, or undefined, where every token sees all up to its own.
using SeenPositions = std::vector<at::Tensor>;

/// What layers with sparse attention chose in one forward pass, for later layers that share a
/// choice instead of making their own. A layer that is computed again puts the same again.
class KeyChoices {
 public:
  /// `keeps_earlier`: parts of the pass may be computed again, and then need what they read.
  /// Without it only the latest choice stays in memory.
  void put(int64_t layer, SeenPositions seen, bool keeps_earlier);
  /// The choice of the nearest layer before `layer`. Throws moe::Error where none has made one.
  const SeenPositions& before(int64_t layer) const;

 private:
  std::map<int64_t, SeenPositions> of_layers_;
};

}  // namespace moe
