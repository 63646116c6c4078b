#pragma once
// Gradients of a model whose experts are sharded over ranks and whose other parameters every rank
// holds.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <moe/parallel/communicator.h>

namespace moe::parallel {

/// True when `component` is one of the dotted components of `name`.
bool has_component(std::string_view name, std::string_view component);

/// True when a dotted component of `name` is "experts": such tensors belong to the experts of this
/// rank, stacked on dimension 0 and sharded there unless single_expert(name) says otherwise; all
/// others are the same on every rank.
bool is_expert_parameter(std::string_view name);

/// The number of the expert that alone `name` belongs to ("moe.experts.3.0.weight": 3): a parameter
/// that is not stacked but one expert's own, on the rank that holds it (modules of a user). Nothing
/// for all other names.
std::optional<int64_t> single_expert(std::string_view name);

/// Adds the gradients of the replicated parameters over the ranks of `group`, in rank order, so
/// that all ranks hold the same bits; expert gradients, complete where they are, stay.
///
/// `parameters` are the same on all ranks and in the same order; parameters without requires_grad
/// are passed over, and a tensor with several names (tied weights) counts once. A gradient that is
/// undefined here counts as zeros; one that is undefined on every rank stays so.
void reduce_gradients(const std::vector<std::pair<std::string, Tensor>>& parameters,
                      Communicator& group);

}  // namespace moe::parallel
