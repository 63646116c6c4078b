#pragma once

#include <functional>
#include <vector>

#include <torch/nn/module.h>

namespace moe::layers {

using at::Tensor;

/// A part of a forward pass: outputs of x. A pure function of x: no counters, no generator state,
/// no branch on grad mode. It may read what does not change until the backward pass.
using RecomputedPart = std::function<std::vector<Tensor>(const Tensor& x)>;

/// part(x), of which only x is kept for the backward pass: that calls the part a second time and
/// goes back through it (activation checkpointing, Chen et al. 2016). Gradients are those of a
/// plain call, bit for bit on one thread; collectives inside the part run again, on all ranks in
/// the same order.
///
/// `owner` holds the parameters that the part uses. Their gradients are added to .grad as
/// backward() does; autograd::grad of them sees nothing. Differentiable once: a backward pass that
/// makes a graph throws moe::Error. The owner must live, and its parameters stay as they are, until
/// then.
std::vector<Tensor> recomputed(const torch::nn::Module& owner, const RecomputedPart& part,
                               const Tensor& x);

}  // namespace moe::layers
