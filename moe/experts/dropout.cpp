// L experts on this rank, R rows.
#include <ATen/TensorOperators.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/tensor.h>

#include <moe/experts/dropout.h>
#include <moe/ops/random_fill.h>

namespace moe::experts {

Tensor dropout_mask(const ExpertRows& rows, const ExpertsShape& shape, int64_t width, double p,
                    const LayerContext& context) {
  if (!context.training || p == 0) return {};
  // A token goes to several experts: its number and the expert's together name the row.
  const Tensor counts_L = rows.offsets_L.slice(0, 1) - rows.offsets_L.slice(0, 0, -1);
  const Tensor local_R = at::repeat_interleave(counts_L);
  Tensor name_R = rows.token_R * shape.num_experts;
  std::vector<int64_t> number_L;
  for (int64_t row = 0; row < shape.held(); ++row) number_L.push_back(shape.number_of(row));
  name_R.slice(0, 0, local_R.size(0))
      .add_(at::tensor(number_L, local_R.options()).index_select(0, local_R));
  const RandomStream stream(context.random, Purpose::kExpertDropout);
  return ops::dropout_mask(name_R, width, p, stream, rows.source_SD.scalar_type());
}

}  // namespace moe::experts
