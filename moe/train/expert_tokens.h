#pragma once
// E experts.

#include <optional>
#include <vector>

#include <moe/models/model.h>
#include <moe/train/optimizer.h>

namespace moe::train {

/// Finds the layer that routes whose experts a parameter belongs to.
class ExpertTokenCounts {
 public:
  /// For the parameters of an optimizer and the model they are of.
  ExpertTokenCounts(const Parameters& parameters, const models::Model& model);

  /// By number of a parameter, the tokens that each expert of its layer got; undefined for
  /// parameters outside of layers that route. `of_layers`: (E,) int64 for each layer that routes,
  /// in order.
  ExpertTokens by_parameter(const std::vector<Tensor>& of_layers) const;

 private:
  std::vector<std::optional<size_t>> layers_;
};

}  // namespace moe::train
