#pragma once
// E experts.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <moe/data/batch.h>
#include <moe/flow/exchange_errors.h>
#include <moe/models/model.h>
#include <moe/objectives/objective.h>
#include <moe/parallel/gradients.h>
#include <moe/parameters/list.h>

namespace moe::train {

class FrozenState;

/// What one layer that routes did in a step, over all micro-batches and ranks.
struct LayerLoad {
  int64_t layer = 0;
  /// (E,) float64 pairs per expert.
  Tensor load_E;
  double dropped = 0;
  double tokens = 0;
  /// (R,) float64 what its router recorded; undefined: nothing.
  Tensor record_R = {};
  /// BalanceReport::rows_X2; undefined where one rank holds all experts.
  Tensor rows_X2 = {};
  /// What its rows lost on their way, where they travel in fewer bits.
  std::optional<ExchangeError> exchange = {};

  double max_over_mean() const;
  /// Of the load's distribution, in nats over ln E: 1 when even; NaN without pairs.
  double entropy() const;
  int64_t unused() const;
};

/// What a step measured, over all micro-batches and ranks; the same on every rank.
struct StepResult {
  /// What was minimised: the objective's mean over the step's targets, and the balance terms.
  double loss = 0;
  double task_loss = 0;
  /// Mean of each term over the layers that have it and over micro-batches, before its coefficient;
  /// by the term's name.
  std::vector<std::pair<std::string, double>> balance;
  double gradient_norm = 0;
  std::vector<LayerLoad> layers;
  /// (E,) int64 for each layer that routes, where they were to be counted: tokens that reached each
  /// expert, those without room or whose expert sat out not among them.
  std::vector<Tensor> expert_tokens;
  bool finite = true;
};

/// What a step works with.
struct StepInputs {
  models::Model& model;
  const objectives::Objective& objective;
  parallel::Layout layout = {};
  uint64_t seed = 0;
  at::ScalarType compute = at::ScalarType::Undefined;
  models::Recompute recompute = models::Recompute::kNone;
  /// Null: nothing is frozen but whole parameters.
  const FrozenState* frozen = nullptr;
  bool count_tokens = false;
  /// ConsistencyOptions::coefficient; above 0 every micro-batch is run twice.
  double consistency = 0;
  /// Adds the gradients while the last backward pass makes them; null: behind it.
  parallel::GradientSums* gradients = nullptr;
};

/// Forward and backward over this rank's rows of the micro-batches of optimizer step `step`; leaves
/// the reduced gradients on the parameters. All ranks call it.
///
/// loss = sum of losses / targets of the whole step + mean over micro-batches of the balance terms:
/// the same gradients for any split into micro-batches and ranks, but for terms that are not sums
/// over tokens (see the terms).
///
/// With consistency every micro-batch passes twice, with other random numbers; loss and balance are
/// the mean of both passes', and coefficient times the divergence of their predictions (a mean over
/// targets, "consistency" in StepResult::balance) is added. Routers that draw their experts add
/// objectives::policy_loss of the micro-batch's mean loss over all ranks, which is no part of
/// StepResult::loss.
StepResult forward_backward(const StepInputs& inputs, const std::vector<data::Batch>& micro_batches,
                            int64_t step, const Parameters& parameters);

}  // namespace moe::train
