#pragma once
// B batch, S sequence, E experts.

#include <vector>

#include <moe/data/loader.h>
#include <moe/models/model.h>
#include <moe/train/clip.h>
#include <moe/train/optimizer.h>

namespace moe::train {

/// What one MoE layer did in a step, over all micro-batches and ranks.
struct LayerLoad {
  int64_t layer = 0;
  /// (E,) float64 pairs per expert.
  Tensor load_E;
  double dropped = 0;

  double max_over_mean() const;
  /// Of the load's distribution, in nats over ln E: 1 when even.
  double entropy() const;
  int64_t unused() const;
};

/// What a step measured, over all micro-batches and ranks.
struct StepResult {
  double loss = 0;
  double lm_loss = 0;
  /// Mean over layers and micro-batches of each term, before its coefficient; by the term's name.
  std::vector<std::pair<std::string, double>> balance;
  double gradient_norm = 0;
  std::vector<LayerLoad> layers;
  bool finite = true;
};

/// What a step works with.
struct StepInputs {
  models::LanguageModel& model;
  parallel::Communicator& group;
  uint64_t seed = 0;
  at::ScalarType compute = at::ScalarType::Undefined;
  models::Recompute recompute = models::Recompute::kNone;
  /// Of the data, for terms on domains; 0: rows have none.
  int64_t num_domains = 0;
  /// Of the model's parameters, where it has any.
  ops::GradientSinks sinks = {};
};

/// Forward and backward over the micro-batches of optimizer step `step`; leaves the reduced
/// gradients on the parameters.
///
/// loss = sum of token losses / targets of the whole step + mean over micro-batches of the balance
/// terms: the same gradients for any split into micro-batches and ranks, but for terms that are not
/// sums over tokens (see the terms).
StepResult forward_backward(const StepInputs& inputs, const std::vector<data::Batch>& micro_batches,
                            int64_t step, const NamedTensors& parameters);

/// Summed cross entropy of logits_BSV against target_BS (ignored targets count nothing), and the
/// number of targets.
std::pair<Tensor, Tensor> token_losses(const Tensor& logits_BSV, const Tensor& target_BS);

}  // namespace moe::train
