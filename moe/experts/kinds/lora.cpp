// L experts on this rank, D in, F hidden, H = F or 2F, O out, r rank, R rows, S source rows.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>

#include <moe/experts/dropout.h>
#include <moe/experts/kinds/lora.h>
#include <moe/ops/grouped.h>
#include <moe/ops/linear.h>
#include <moe/ops/rows.h>

namespace moe {

void LoraExpert::validate(const std::string& place) const {
  experts::FeedForwardOptions{.dropout = dropout}.validate(place);
  check<ConfigError>(rank >= 1, "config", "expected '", detail::dotted(place, "rank"),
                     "' of at least 1, got ", rank, ". Raise it.");
  check<ConfigError>(std::isfinite(alpha), "config", "expected '", detail::dotted(place, "alpha"),
                     "' to be finite, got ", alpha, ". Twice the rank is usual.");
}

}  // namespace moe

namespace moe::experts {

namespace {

/// LoRA experts (Hu et al. 2021; as experts: MoLE, MixLoRA): with s = alpha / r
///
///   out = base_out h + s up_out (down_out h) + b_out with h = act(g) * u,
///   [g; u] = base_in x + s up_in (down_in x) + b_in
///
/// base_in (H, D) and base_out (O, F) are one for all experts and never trained: buffers of the
/// model, on every rank. down_in (L, r, D), up_in (L, H, r), down_out (L, r, F) and up_out (L, O,
/// r) are each expert's; the up matrices start at zero, so that the layer starts as its base.
/// With `bias` the base has base_b_in (H) and base_b_out (O), and b_in (L, H), b_out (L, O) are
/// added to them.
///
/// base_in x is the same for all experts of a token, and is computed once a token.
class Lora final : public Experts {
 public:
  Lora(const ExpertsShape& shape, const LoraExpert& options)
      : Experts(shape),
        options_(options),
        activation_(ops::parse_activation(options.activation, "experts/lora")),
        scale_(options.alpha / static_cast<double>(options.rank)) {
    const int64_t L = shape_.held(), D = shape_.d_model, F = shape_.d_ff, O = shape_.output(),
                  H = options.gated ? 2 * F : F, r = options.rank;
    const auto zero = [](const Tensor& values, const RandomStream&) { Tensor(values).zero_(); };
    const std::vector<int64_t> parts =
        options.gated ? std::vector<int64_t>{F, F} : std::vector<int64_t>{};
    ParameterInfo up = stacked(Role::kMatrix), bias_in = stacked(Role::kBias);
    up.start = zero;
    ParameterInfo up_first = up;
    up_first.fused = bias_in.fused = parts;
    base_in = add_frozen("base_in", {H, D}, {.role = Role::kMatrix, .fused = parts});
    base_out = add_frozen("base_out", {O, F}, {.role = Role::kMatrix, .residual = true});
    down_in = add_parameter("down_in", {L, r, D}, stacked(Role::kMatrix));
    up_in = add_parameter("up_in", {L, H, r}, up_first);
    down_out = add_parameter("down_out", {L, r, F}, stacked(Role::kMatrix));
    up_out = add_parameter("up_out", {L, O, r}, up);
    if (!options.bias) return;
    base_b_in = add_frozen("base_b_in", {H}, {.role = Role::kBias, .fused = parts});
    base_b_out = add_frozen("base_b_out", {O}, {.role = Role::kBias});
    b_in = add_parameter("b_in", {L, H}, bias_in);
    b_out = add_parameter("b_out", {L, O}, stacked(Role::kBias));
  }

  Tensor forward(const ExpertRows& all_rows, const LayerContext& context) override {
    const int64_t all = all_rows.rows(), F = shape_.d_ff;
    const ExpertRows rows = owned(all_rows);
    const Tensor& offsets_L = rows.offsets_L;
    const auto type = rows.source_SD.scalar_type();
    const Tensor low_Rr =
        ops::grouped_matmul(rows.source_SD, rows.index_R, offsets_L, down_in, {}) * scale_;
    const Tensor pre_RH =
        base_pre_activations(rows) + ops::grouped_matmul(low_Rr, {}, offsets_L, up_in, b_in);
    Tensor h_RF = options_.gated
                      ? ops::activate(pre_RH.narrow(1, 0, F), activation_) * pre_RH.narrow(1, F, F)
                      : ops::activate(pre_RH, activation_);
    if (const Tensor keep_RF = dropout_mask(rows, shape_, F, options_.dropout, context);
        keep_RF.defined())
      h_RF = h_RF * keep_RF;
    const Tensor low_out_Rr = ops::grouped_matmul(h_RF, {}, offsets_L, down_out, {}) * scale_;
    const Tensor out_RO = ops::linear(h_RF, base_out.to(type),
                                      base_b_out.defined() ? base_b_out.to(type) : Tensor()) +
                          ops::grouped_matmul(low_out_Rr, {}, offsets_L, up_out, b_out);
    return rows.rows() == all ? out_RO : at::constant_pad_nd(out_RO, {0, 0, 0, all - rows.rows()});
  }

  int64_t flops_per_row() const override {
    const int64_t D = shape_.d_model, F = shape_.d_ff, O = shape_.output(),
                  H = options_.gated ? 2 * F : F;
    return 2 * (H * D + O * F + options_.rank * (D + H + F + O));
  }

 private:
  /// The rows that belong to an expert: what comes behind them must not be read.
  ExpertRows owned(const ExpertRows& rows) const {
    const int64_t held = rows.offsets_L[-1].item<int64_t>();
    if (held == rows.rows()) return rows;
    ExpertRows out = rows;
    if (rows.index_R.defined())
      out.index_R = rows.index_R.slice(0, 0, held);
    else
      out.source_SD = rows.source_SD.slice(0, 0, held);
    out.token_R = rows.token_R.slice(0, 0, held);
    return out;
  }

  /// (R, H) base_in x + base_b_in.
  Tensor base_pre_activations(const ExpertRows& rows) const {
    const auto type = rows.source_SD.scalar_type();
    const auto base = [&](const Tensor& x) {
      return ops::linear(x, base_in.to(type), base_b_in.defined() ? base_b_in.to(type) : Tensor());
    };
    if (!rows.index_R.defined()) return base(rows.source_SD);
    // Once a token, unless few of the tokens have rows here.
    if (rows.source_SD.size(0) <= rows.rows())
      return ops::gather_rows(base(rows.source_SD), rows.index_R);
    return base(ops::gather_rows(rows.source_SD, rows.index_R));
  }

  LoraExpert options_;
  ops::Activation activation_;
  double scale_;
  Tensor base_in, base_out, base_b_in, base_b_out;
  Tensor down_in, up_in, b_in, down_out, up_out, b_out;
};

}  // namespace

MOE_KIND(expert_kinds, lora, Lora, LoraExpert)

}  // namespace moe::experts
