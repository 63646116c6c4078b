#pragma once
// What a run asks of its ranks, in numbers, from its unfilled model. T tokens, E experts, D width.

#include <string>
#include <vector>

#include <moe/train/options.h>

namespace moe::planning {

/// Bytes that a set of parameters takes in training.
struct StateBytes {
  /// Parameters and buffers; gradients of those that learn; what the optimizer keeps.
  double weights = 0, gradients = 0, moments = 0;

  StateBytes operator*(double times) const {
    return {weights * times, gradients * times, moments * times};
  }
  StateBytes& operator+=(const StateBytes& other) {
    weights += other.weights, gradients += other.gradients, moments += other.moments;
    return *this;
  }
};

/// One MoE layer.
struct ExpertLayer {
  int64_t layer = 0;
  int64_t experts = 0;
  /// (token, expert) pairs of a token, on average.
  double pairs_per_token = 0;
  /// Numbers of a row that travels.
  int64_t width = 0;
  /// Of one expert.
  StateBytes state = {};
  /// Forward FLOPs of a pair.
  double flops_per_pair = 0;
  /// Numbers that the backward pass needs of a pair: what comes of the matrices that the residual
  /// stream does not take, and what the others read.
  double kept_per_pair = 0;
};

/// Bytes that a block keeps of each token until its backward pass, apart from its experts' pairs.
struct KeptBlock {
  /// All of the block; what is left with recompute = "moe"; and what with "blocks".
  double all = 0, without_moe = 0, input = 0;
  /// Index into Workload::layers; -1: the block has no experts.
  int64_t experts = -1;
};

/// A run without its ranks.
struct Workload {
  /// Of products: what train.dtype says; and bytes of a number in it.
  std::string dtype = "float32";
  double number_bytes = 4;
  /// Rows of a micro-batch over all ranks, tokens of a row, micro-batches of a step.
  int64_t batch = 1, sequence = 1, accumulation = 1;
  /// Times that a micro-batch passes through the model: 2 with train.consistency.
  int64_t passes = 1;
  std::string recompute = "none";
  /// Everything but the experts that ranks share.
  StateBytes replicated = {};
  std::vector<ExpertLayer> layers = {};
  std::vector<KeptBlock> blocks = {};
  /// Forward FLOPs of a token in everything but experts, and those of them that train.recompute
  /// makes twice.
  double flops_per_token = 0;
  double flops_again = 0;
  /// Bytes that the loss holds of a token: hidden states and their gradient; and logits and theirs,
  /// which come in chunks of at most so many bytes.
  double hidden_bytes = 0, logits_bytes = 0, most_logits_bytes = 0;
  int64_t parameters = 0;

  double tokens_per_step() const {
    return static_cast<double>(batch) * static_cast<double>(sequence) *
           static_cast<double>(accumulation);
  }
  /// Most experts of a layer; 1 where the model has none.
  int64_t most_experts() const;
};

/// The workload of a run of a text model: weights, gradients and optimizer state are those of its
/// unfilled model and optimizer, to the byte; activations are counted by the matrices of each block
/// (docs/planning.md). Tokens see half a row on average where the model is causal. Nothing is
/// allocated. Throws ConfigError for models of images and for a run of more than 2^53 tokens a
/// step.
Workload workload_of(const train::RunOptions& run);

}  // namespace moe::planning
