#pragma once

#include <string>

#include <moe/models/model.h>
#include <moe/parallel/layout.h>
#include <moe/train/monitor.h>
#include <moe/train/optimizer.h>

namespace moe::train {

/// Starts a dead expert of `layer` (a block, or a MoE layer on its own) again: what belongs to it
/// becomes that of the busiest expert with 1 % noise (its matrices and biases, and its row of
/// whatever the router has a row an expert of), and its part of the optimizer's state zero. All
/// ranks call it; the noise is the same on any number of them.
///
/// An expert that is a module of other shapes than the busiest one stays as it is, and so does one
/// of which something does not learn, be it its row of the router: what groups freeze is left
/// alone, and half a new start is none. Returns what was done, for the log, and says in `started`
/// whether it was.
std::string revive(const DeadExpert& dead, const torch::nn::Module& layer,
                   const Optimizer& optimizer, const parallel::Layout& layout, uint64_t seed,
                   int64_t step, bool* started = nullptr);

/// The part of the optimizer's state that belongs to an expert of `layer` becomes zero on this
/// rank; its numbers stay.
void clear_moments(int64_t expert, const torch::nn::Module& layer, const Optimizer& optimizer);

/// The same for all experts of `model` that their routers started anew in the last step
/// (Router::started_anew).
void clear_started(const models::Model& model, const Optimizer& optimizer);

}  // namespace moe::train
