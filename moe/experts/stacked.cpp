// L experts on this rank, D in, F hidden, H = F or 2F, O out, R rows.
#include <moe/experts/dropout.h>
#include <moe/experts/stacked.h>

namespace moe::experts {

StackedExperts::StackedExperts(const ExpertsShape& shape, const FeedForwardOptions& options,
                               int64_t inner, const std::string& place)
    : Experts(shape),
      options_(options),
      activation_(ops::parse_activation(options.activation, place)),
      inner_(inner) {
  const int64_t L = shape_.held(), D = shape_.d_model, F = shape_.d_ff, H = inner * F,
                O = shape_.output();
  ParameterInfo in = stacked(Role::kMatrix), out = stacked(Role::kMatrix);
  ParameterInfo bias_in = stacked(Role::kBias);
  if (inner == 2) in.fused = bias_in.fused = {F, F};
  out.residual = true;
  w_in = add_parameter("w_in", {L, H, D}, in);
  w_out = add_parameter("w_out", {L, O, F}, out);
  if (options_.bias) {
    b_in = add_parameter("b_in", {L, H}, bias_in);
    b_out = add_parameter("b_out", {L, O}, stacked(Role::kBias));
  }
}

int64_t StackedExperts::flops_per_row() const {
  return 2 * shape_.d_ff * (inner_ * shape_.d_model + shape_.output());
}

Tensor StackedExperts::keep_mask(const ExpertRows& rows, const LayerContext& context) const {
  return dropout_mask(rows, shape_, shape_.d_ff, options_.dropout, context);
}

ops::MlpParameters MlpExperts::mlp(const ExpertRows& rows) const {
  const ExpertTables weights =
      source_ ? source_->tables(rows) : ResidentStacks(w_in, w_out).tables(rows);
  return {weights.w_in, b_in, weights.w_out, b_out, activation_, inner_ == 2, options_.recompute};
}

Tensor MlpExperts::forward(const ExpertRows& rows, const LayerContext& context) {
  return ops::grouped_mlp(rows.source_SD, rows.index_R, rows.offsets_L, mlp(rows),
                          keep_mask(rows, context));
}

Tensor MlpExperts::forward_combined(const ExpertRows& rows, const ops::Combination& pairs,
                                    const LayerContext& context) {
  return ops::grouped_mlp_combined(rows.source_SD, rows.index_R, rows.offsets_L, mlp(rows),
                                   keep_mask(rows, context), pairs);
}

}  // namespace moe::experts
