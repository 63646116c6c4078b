#pragma once
// ops/grouped.h on the kernels of this processor. Arguments are checked by the callers there; names
// and shapes as there.

#include <moe/ops/grouped.h>

namespace moe::ops::cpu {

/// Whether the kernels take rows such as these: float32 and bfloat16 on the CPU, unless libtorch's
/// products are asked for (instruction_set.h).
bool takes(const Tensor& source_SD);

/// Differentiable; with gradients it saves the input and, unless `recompute`, the pre-activations,
/// without it saves nothing. Parameters that need no gradient cost none. Weights are float32 or
/// bfloat16, all else has the source's type.
Tensor grouped_mlp(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                   const MlpParameters& mlp, const Tensor& keep_RF);
Tensor grouped_mlp_combined(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                            const MlpParameters& mlp, const Tensor& keep_RF,
                            const Combination& pairs);

Tensor grouped_matmul(const Tensor& source_SD, const Tensor& index_R, const Tensor& offsets_E,
                      const ExpertTable& w_EOD, const Tensor& b_EO);

}  // namespace moe::ops::cpu
