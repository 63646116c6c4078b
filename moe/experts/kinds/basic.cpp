// L experts on this rank, D in, O out, R rows.
#include <ATen/TensorOperators.h>

#include <moe/experts/dropout.h>
#include <moe/experts/kinds/basic.h>
#include <moe/ops/grouped.h>

namespace moe::experts {

namespace {

/// out = act(w_out x + b_out), with w_out (L, O, D) and b_out (L, O). There are no
/// hidden units: d_ff plays no part, and dropout acts on the outputs.
class Basic final : public Experts {
 public:
  Basic(const ExpertsShape& shape, const BasicExpert& options)
      : Experts(shape),
        dropout_(options.dropout),
        activation_(ops::parse_activation(options.activation, "experts/basic")) {
    const int64_t L = shape_.held(), D = shape_.d_model, O = shape_.output();
    ParameterInfo info = stacked(Role::kMatrix);
    info.residual = true;
    w_out = add_parameter("w_out", {L, O, D}, info);
    if (options.bias) b_out = add_parameter("b_out", {L, O}, stacked(Role::kBias));
  }

  Tensor forward(const ExpertRows& rows, const LayerContext& context) override {
    const Tensor out_RO = ops::activate(
        ops::grouped_matmul(rows.source_SD, rows.index_R, rows.offsets_L, w_out, b_out),
        activation_);
    const Tensor keep_RO = dropout_mask(rows, shape_, shape_.output(), dropout_, context);
    return keep_RO.defined() ? out_RO * keep_RO : out_RO;
  }

  int64_t flops_per_row() const override { return 2 * shape_.d_model * shape_.output(); }

 private:
  double dropout_;
  ops::Activation activation_;
  Tensor w_out, b_out;
};

}  // namespace

MOE_KIND(expert_kinds, basic, Basic, BasicExpert)

}  // namespace moe::experts
