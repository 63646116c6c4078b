// L experts on this rank, D in, F hidden, H = F or 2F, O out, r rank, R rows.
#include <algorithm>

#include <moe/experts/dropout.h>
#include <moe/experts/kinds/low_rank.h>
#include <moe/ops/grouped.h>

namespace moe {

void LowRankExpert::validate(const std::string& place) const {
  experts::FeedForwardOptions::of(*this).validate(place);
  check<ConfigError>(rank >= 0, "config", "expected '", detail::dotted(place, "rank"),
                     "' of at least 0, got ", rank, ". 0 takes a quarter of d_ff.");
}

}  // namespace moe

namespace moe::experts {

namespace {

/// `gated` or `ffn` with W_in = u_in v_in and W_out = u_out v_out:
///
///   out = u_out (v_out h) + b_out with h = act(g) * u, [g; u] = u_in (v_in x) + b_in
///
/// v_in (L, r, D), u_in (L, H, r): gate rows, then up rows; v_out (L, r, F), u_out (L, O, r), or
/// w_out (L, O, F) without factor_out. At r = F/4 that is r (D + H + F + O) numbers an expert for
/// F (2D + O) of `gated`. The middle three products are those of one feed-forward expert of input
/// r and output r, so the kernels of `gated` run on them as they are.
class LowRank final : public Experts {
 public:
  LowRank(const ExpertsShape& shape, const LowRankExpert& options)
      : Experts(shape),
        options_(options),
        activation_(ops::parse_activation(options.activation, "experts/low_rank")),
        rank_(options.rank > 0 ? options.rank : std::max<int64_t>(1, shape.d_ff / 4)) {
    const int64_t L = shape_.held(), D = shape_.d_model, F = shape_.d_ff, O = shape_.output(),
                  H = options.gated ? 2 * F : F, r = rank_;
    const int64_t most = std::min({D, F, O});
    check<ConfigError>(r <= most, "experts/low_rank", "expected rank in [1, ", most,
                       "], which is the least of d_model, d_ff and d_out, got ", r,
                       ". Lower it, or take the kind 'gated' or 'ffn'.");
    ParameterInfo in = stacked(Role::kMatrix), bias_in = stacked(Role::kBias),
                  out = stacked(Role::kMatrix);
    if (options.gated) in.fused = bias_in.fused = {F, F};
    out.residual = true;
    v_in = add_parameter("v_in", {L, r, D}, stacked(Role::kMatrix));
    u_in = add_parameter("u_in", {L, H, r}, in);
    if (options.factor_out) v_out = add_parameter("v_out", {L, r, F}, stacked(Role::kMatrix));
    w_out = options.factor_out ? add_parameter("u_out", {L, O, r}, out)
                               : add_parameter("w_out", {L, O, F}, out);
    if (!options.bias) return;
    b_in = add_parameter("b_in", {L, H}, bias_in);
    b_out = add_parameter("b_out", {L, O}, stacked(Role::kBias));
  }

  Tensor forward(const ExpertRows& rows, const LayerContext& context) override {
    const Tensor keep_RF = keep_mask(rows, context), z_Rr = compressed(rows);
    const Tensor out_R = ops::grouped_mlp(z_Rr, {}, rows.offsets_L, inner(), keep_RF);
    if (!options_.factor_out) return out_R;
    return ops::grouped_matmul(out_R, {}, rows.offsets_L, w_out, b_out);
  }

  Tensor forward_combined(const ExpertRows& rows, const ops::Combination& pairs,
                          const LayerContext& context) override {
    if (options_.factor_out) return Experts::forward_combined(rows, pairs, context);
    return ops::grouped_mlp_combined(compressed(rows), {}, rows.offsets_L, inner(),
                                     keep_mask(rows, context), pairs);
  }

  int64_t flops_per_row() const override {
    const int64_t D = shape_.d_model, F = shape_.d_ff, O = shape_.output(),
                  H = options_.gated ? 2 * F : F;
    return 2 * (rank_ * (D + H) + (options_.factor_out ? rank_ * (F + O) : F * O));
  }

 private:
  Tensor compressed(const ExpertRows& rows) const {
    return ops::grouped_matmul(rows.source_SD, rows.index_R, rows.offsets_L, v_in, {});
  }
  ops::MlpParameters inner() const {
    return {u_in,
            b_in,
            options_.factor_out ? v_out : w_out,
            options_.factor_out ? Tensor() : b_out,
            activation_,
            options_.gated,
            options_.recompute};
  }
  Tensor keep_mask(const ExpertRows& rows, const LayerContext& context) const {
    return dropout_mask(rows, shape_, shape_.d_ff, options_.dropout, context);
  }

  LowRankExpert options_;
  ops::Activation activation_;
  int64_t rank_;
  Tensor v_in, u_in, b_in, v_out, w_out, b_out;
};

}  // namespace

MOE_KIND(expert_kinds, low_rank, LowRank, LowRankExpert)

}  // namespace moe::experts
