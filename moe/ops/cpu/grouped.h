#pragma once
// ops/grouped.h on the kernels of this processor. Arguments are checked by the callers there; names
// and shapes as there.

#include <moe/ops/grouped.h>

namespace moe::ops::cpu {

/// Whether the kernels run products of such rows: float32 and bfloat16 on the CPU, unless
/// libtorch's products are forced or faster here with so many rows an expert (instruction_set.h).
bool kernels_take(const Tensor& source_SD, const Tensor& offsets_E);

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
