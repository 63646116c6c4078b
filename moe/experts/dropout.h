#pragma once
// R rows, F width.

#include <moe/experts/experts.h>

namespace moe::experts {

/// (R, width) multipliers that drop a share `p` of an expert's units in training, else undefined;
/// keyed by token and expert, so that order, ranks and threads change nothing.
Tensor dropout_mask(const ExpertRows& rows, const ExpertsShape& shape, int64_t width, double p,
                    const LayerContext& context);

}  // namespace moe::experts
