// L experts on this rank, D in, F hidden, O out, R rows.
#include <cmath>

#include <ATen/TensorOperators.h>

#include <moe/experts/kinds/clamped.h>
#include <moe/experts/stacked.h>
#include <moe/ops/pointwise.h>

namespace moe {

void ClampedExpert::validate(const std::string& place) const {
  const std::string prefix = place.empty() ? "" : place + ".";
  experts::FeedForwardOptions{.dropout = dropout}.validate(place);
  check<ConfigError>(std::isfinite(alpha), "config", "expected '", prefix,
                     "alpha' to be finite, got ", alpha, ". gpt-oss uses 1.702.");
  check<ConfigError>(limit > 0, "config", "expected '", prefix, "limit' above 0, got ", limit,
                     ". gpt-oss uses 7.");
}

}  // namespace moe

namespace moe::experts {

namespace {

/// out = w_out h + b_out with h = g sigmoid(alpha g) (u + 1), where [g; u] = w_in x + b_in, g cut
/// at limit from above and u to [-limit, limit]; w_in (L, 2F, D): gate rows, then up rows.
///
/// Two grouped products with libtorch's operations between them: beside `gated` it keeps a few
/// (R, F) tensors more for the backward pass, and reads and writes them once each.
class Clamped final : public StackedExperts {
 public:
  Clamped(const ExpertsShape& shape, const ClampedExpert& options)
      : StackedExperts(shape,
                       {.activation = "silu", .bias = options.bias, .dropout = options.dropout},
                       /*inner=*/2, "experts/clamped"),
        alpha_(options.alpha),
        limit_(options.limit) {}

  Tensor forward(const ExpertRows& rows, const LayerContext& context) override {
    const Tensor& offsets_L = rows.offsets_L;
    const Tensor pre_RH = ops::grouped_matmul(rows.source_SD, rows.index_R, offsets_L, w_in, b_in);
    const int64_t F = shape_.d_ff;
    const Tensor gate_RF = pre_RH.narrow(1, 0, F).clamp_max(limit_);
    const Tensor up_RF = pre_RH.narrow(1, F, F).clamp(-limit_, limit_);
    Tensor h_RF = gate_RF * ops::sigmoid(gate_RF * alpha_) * (up_RF + 1);
    if (const Tensor keep_RF = keep_mask(rows, context); keep_RF.defined()) h_RF = h_RF * keep_RF;
    return ops::grouped_matmul(h_RF, /*index_R=*/{}, offsets_L, w_out, b_out);
  }

 private:
  double alpha_, limit_;
};

}  // namespace

MOE_KIND(expert_kinds, clamped, Clamped, ClampedExpert)

}  // namespace moe::experts
