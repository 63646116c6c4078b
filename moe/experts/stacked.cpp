// L experts on this rank, D in, F hidden, H = F or 2F, O out, R rows.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/repeat_interleave.h>

#include <moe/experts/stacked.h>
#include <moe/ops/random_fill.h>

namespace moe::experts {

StackedExperts::StackedExperts(const ExpertsShape& shape, const FeedForwardOptions& options,
                               int64_t inner, const std::string& place)
    : Experts(shape),
      options_(options),
      activation_(ops::parse_activation(options.activation, place)),
      inner_(inner) {
  const int64_t L = shape_.held(), D = shape_.d_model, F = shape_.d_ff, H = inner * F,
                O = shape_.output();
  w_in = register_parameter("w_in", at::empty({L, H, D}));
  w_out = register_parameter("w_out", at::empty({L, O, F}));
  if (options_.bias) {
    b_in = register_parameter("b_in", at::empty({L, H}));
    b_out = register_parameter("b_out", at::empty({L, O}));
  }
}

int64_t StackedExperts::flops_per_row() const {
  return 2 * shape_.d_ff * (inner_ * shape_.d_model + shape_.output());
}

Tensor StackedExperts::keep_mask(const ExpertRows& rows, const RoutingContext& context) const {
  if (!context.training || options_.dropout == 0) return {};
  // A token meets several experts: its number and the expert's together name the row.
  const Tensor counts_L = rows.offsets_L.slice(0, 1) - rows.offsets_L.slice(0, 0, -1);
  const Tensor local_R = at::repeat_interleave(counts_L);
  Tensor name_R = rows.token_R * shape_.num_experts;
  name_R.slice(0, 0, local_R.size(0)).add_(local_R + shape_.first);
  const RandomStream stream(context.random, Purpose::kExpertDropout);
  return ops::dropout_mask(name_R, shape_.d_ff, options_.dropout, stream,
                           rows.source_SD.scalar_type());
}

}  // namespace moe::experts
