#include <moe/base/error.h>
#include <moe/flow/key_choices.h>

namespace moe {

void KeyChoices::put(int64_t layer, SeenPositions seen, bool keeps_earlier) {
  if (!keeps_earlier) of_layers_.clear();
  of_layers_[layer] = std::move(seen);
}

const SeenPositions& KeyChoices::before(int64_t layer) const {
  const auto next = of_layers_.lower_bound(layer);
  check(next != of_layers_.begin(), "flow/key_choices", "expected a layer before layer ", layer,
        " that chooses keys, got none whose choice it could share. Give an earlier layer an "
        "indexer.");
  return std::prev(next)->second;
}

}  // namespace moe
