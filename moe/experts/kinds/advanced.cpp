// L experts on this rank, D in, F hidden, O out, R rows.
#include <ATen/TensorOperators.h>

#include <moe/experts/kinds/advanced.h>
#include <moe/experts/stacked.h>

namespace moe::experts {

namespace {

/// out = w_out (act(LayerNorm(w_in x + b_in)) * keep) + b_out, with w_in (L, F, D)
/// and w_out (L, O, F). The norm is over the hidden units, with scale (L, F) and shift b_norm (L,
/// F) of each expert; keep is dropout in training. Unlike ffn it saves the hidden units before and
/// behind the norm.
class Advanced final : public StackedExperts {
 public:
  Advanced(const ExpertsShape& shape, const AdvancedExpert& options)
      : StackedExperts(shape, FeedForwardOptions::of(options), /*inner=*/1, "experts/advanced"),
        epsilon_(options.norm_epsilon) {
    const int64_t L = shape_.held(), F = shape_.d_ff;
    scale = add_parameter("scale", {L, F}, stacked(Role::kScale));
    b_norm = add_parameter("b_norm", {L, F}, stacked(Role::kBias));
  }

  Tensor forward(const ExpertRows& rows, const LayerContext& context) override {
    const Tensor& offsets_L = rows.offsets_L;
    const Tensor pre_RF = ops::grouped_matmul(rows.source_SD, rows.index_R, offsets_L, w_in, b_in);
    Tensor h_RF = ops::activate(ops::grouped_layer_norm(pre_RF, offsets_L, scale, b_norm, epsilon_),
                                activation_);
    if (const Tensor keep_RF = keep_mask(rows, context); keep_RF.defined()) h_RF = h_RF * keep_RF;
    return ops::grouped_matmul(h_RF, /*index_R=*/{}, offsets_L, w_out, b_out);
  }

 private:
  double epsilon_;
  Tensor scale, b_norm;
};

}  // namespace

MOE_KIND(expert_kinds, advanced, Advanced, AdvancedExpert)

}  // namespace moe::experts
