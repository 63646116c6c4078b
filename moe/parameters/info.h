#pragma once
// What a parameter is: asked by optimizers, clipping, sharding, checkpoints, quantisation and
// losses on weights, so that nobody reads it out of names.

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include <moe/base/random.h>
#include <moe/parameters/expert_placement.h>

namespace moe {

using at::Tensor;

enum class Role {
  kMatrix,     // of a product inside the model, (…, outputs, inputs)
  kEmbedding,  // a row for each id
  kHead,       // hidden state -> logits or classes
  kScores,     // a router's matrix of scores, a row for each expert
  kScale,      // multiplies; starts at one
  kBias,       // is added; starts at zero
  kState,      // a buffer: no gradient, moves between steps only
};

/// Which part of a model a parameter belongs to: parts have learning rates of their own.
enum class Part { kBackbone, kRouter, kExperts };

/// Fills a parameter when the model is initialised; `stream` is that of its full name.
using Start = std::function<void(Tensor values, const RandomStream& stream)>;

struct ParameterInfo {
  Role role = Role::kMatrix;
  Part part = Part::kBackbone;  // said by the module that holds it (Module::part)
  /// Dimension 0 counts experts: of a stack of experts, or of a router's rows.
  bool per_expert = false;
  /// This rank holds its own experts of dimension 0, from number `first_expert` on, of `whole` in
  /// all; other parameters are the same on every rank. In the state of an optimizer dimension 0 may
  /// count other rows than experts.
  bool sharded = false;
  int64_t first_expert = 0;
  int64_t whole = 0;
  /// The numbers of these experts where they are not first_expert, first_expert + 1, …: some
  /// placement says who holds what. Empty: they are.
  std::vector<int64_t> numbers = {};
  /// So many of the experts of dimension 0, the last, are copies of other ranks' (see
  /// ExpertPlacement): they have no optimizer state here, and count and are written elsewhere.
  int64_t copies = 0;
  std::shared_ptr<const ExpertPlacement> placement = {};
  /// It belongs to this one expert, by number, and lies on the rank that has it.
  std::optional<int64_t> expert = {};
  /// Outputs of each of the matrices that stand on one another in it ([F, F]: gate rows, then up
  /// rows); empty: one matrix.
  std::vector<int64_t> fused = {};
  /// Of a stack whose experts differ in size: the numbers of each that are in use, which lie in the
  /// first rows and columns of its matrix. The others are padding: zero, and counted nowhere.
  /// Empty: all are in use.
  struct Extent {
    int64_t rows = 0, columns = 1;
  };
  std::vector<Extent> used = {};
  /// Its product is added to the residual stream.
  bool residual = false;
  /// How it starts, where role and scheme do not say it.
  Start start = {};
  /// It came with its start (a module of a user's own).
  bool keeps_start = false;
  /// No other rank has a copy of it: state of an optimizer that ranks share out.
  bool only_here = false;

  /// The number of the expert in row `row` of dimension 0.
  int64_t number_of(int64_t row) const {
    return numbers.empty() ? first_expert + row : numbers[static_cast<size_t>(row)];
  }
  /// Whether weight decay is meant for it: for matrices, and neither for embeddings nor for what
  /// has one dimension an expert.
  bool decays() const {
    return role == Role::kMatrix || role == Role::kHead || role == Role::kScores;
  }
  /// Belongs to this rank's experts: other ranks that share the experts of its layer do not have
  /// it, those of its data group do (parallel/layout.h).
  bool is_local() const { return sharded || expert.has_value(); }
};

}  // namespace moe
