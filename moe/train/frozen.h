#pragma once

#include <vector>

#include <moe/parameters/list.h>
#include <moe/train/groups.h>

namespace moe::train {

/// What groups freeze beside whole parameters, which simply need no gradient: single experts of a
/// stack or of a router's rows, and state that modules move by themselves (selection biases,
/// running usage, statistics of users' modules).
class FrozenState {
 public:
  FrozenState() = default;
  /// Of the tensors of a model, buffers included, behind `freeze`.
  FrozenState(const Parameters& tensors, const std::vector<ParameterGroup>& groups);

  /// Makes the gradients of frozen experts zero, so that they count in no norm.
  void clear_gradients() const;
  /// What frozen state is now, and back to it.
  std::vector<Tensor> copies() const;
  void put_back(const std::vector<Tensor>& copies) const;

 private:
  /// All of a tensor, or some of its experts.
  struct Piece {
    Tensor tensor;
    Rows rows;
  };

  std::vector<Piece> experts_, state_;
};

}  // namespace moe::train
