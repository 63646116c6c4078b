#pragma once

#include <string_view>
#include <vector>

#include <moe/parallel/communicator.h>

namespace moe::parallel {

/// The reduction of tensors of one kind in their order, so that every rank gets the same bits:
/// 16-bit types add in float32 and round once. A new tensor. Throws moe::Error for a sum of bool;
/// `place` names backend and rank.
Tensor reduced(std::string_view place, const std::vector<Tensor>& parts, Reduce reduce);

}  // namespace moe::parallel
