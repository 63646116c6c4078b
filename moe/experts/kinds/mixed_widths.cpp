// E experts, L on this rank, G groups of one width, D in, F hidden, H = F or 2F, O out, R rows.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>

#include <moe/experts/dropout.h>
#include <moe/experts/kinds/mixed_widths.h>
#include <moe/ops/grouped.h>

namespace moe {

void MixedWidthsExpert::validate(const std::string& place) const {
  experts::FeedForwardOptions::of(*this).validate(place);
  for (const int64_t width : widths)
    check<ConfigError>(width >= 1, "config", "expected '", detail::dotted(place, "widths"),
                       "' of at least 1 each, got ", width, ". Correct it.");
  check<ConfigError>(steps >= 1, "config", "expected '", detail::dotted(place, "steps"),
                     "' of at least 1, got ", steps, ". Raise it.");
  check<ConfigError>(spread >= 0 && spread < 1, "config", "expected '",
                     detail::dotted(place, "spread"), "' in [0, 1), got ", spread, ". Correct it.");
}

}  // namespace moe

namespace moe::experts {

namespace {

/// The width of each of E experts.
std::vector<int64_t> widths_of(const MixedWidthsExpert& o, int64_t experts, int64_t d_ff) {
  std::vector<int64_t> steps = o.widths;
  if (steps.empty()) {
    const int64_t count = std::min(o.steps, experts);
    for (int64_t i = 0; i < count; ++i) {
      const double place =
          count == 1 ? 0 : 2.0 * static_cast<double>(i) / static_cast<double>(count - 1) - 1;
      steps.push_back(
          std::max<int64_t>(1, std::llround(static_cast<double>(d_ff) * (1 + o.spread * place))));
    }
  } else {
    check<ConfigError>(experts % static_cast<int64_t>(steps.size()) == 0, "experts/mixed_widths",
                       "expected widths of each of num_experts=", experts,
                       " experts or of equal shares of them, got ", steps.size(),
                       ". Give a number of widths that divides num_experts.");
  }
  std::vector<int64_t> out;
  const auto count = static_cast<int64_t>(steps.size());
  for (int64_t e = 0; e < experts; ++e)
    out.push_back(steps[static_cast<size_t>(e * count / experts)]);
  return out;
}

/// Experts begin .. end of this rank have one width.
struct Group {
  int64_t begin = 0, end = 0, width = 0;
  int64_t experts() const { return end - begin; }
};

/// `gated` or `ffn` with an F_e of each expert's own (HMoE, Wang et al. 2024).
///
/// w_in (L, H, D) and w_out (L, O, F) are stacks for the widest expert: expert e is in the first
/// F_e (2 F_e: gate rows, then up rows) rows of w_in[e] and b_in[e], and in the first F_e columns
/// of w_out[e]; the rest is zero, gets no gradient and counts nowhere (ParameterInfo::used). A
/// stack keeps experts on dimension 0, where ranks shard them, at the price of the padding's
/// memory: the widest over the mean.
///
/// Neighbours of one width are one grouped product, so the layer costs what experts of the mean
/// width cost, and one call of the kernels for each group. In training each group's weights are
/// copied together, once a pass; without gradients the kernels read them where they are.
class MixedWidths final : public Experts {
 public:
  MixedWidths(const ExpertsShape& shape, const MixedWidthsExpert& options)
      : Experts(shape),
        options_(options),
        activation_(ops::parse_activation(options.activation, "experts/mixed_widths")),
        inner_(options.gated ? 2 : 1),
        widths_E_(widths_of(options, shape.num_experts, shape.d_ff)) {
    const int64_t L = shape_.held(), D = shape_.d_model, O = shape_.output();
    widest_ = *std::max_element(widths_E_.begin(), widths_E_.end());
    ParameterInfo in = stacked(Role::kMatrix), out = in, bias_in = stacked(Role::kBias);
    out.residual = true;
    for (int64_t e = 0; e < L; ++e) {
      const int64_t width = width_of(e);
      in.used.push_back({inner_ * width, D});
      out.used.push_back({O, width});
      bias_in.used.push_back({inner_ * width, 1});
      if (groups_.empty() || groups_.back().width != width) groups_.push_back({e, e, width});
      groups_.back().end = e + 1;
    }
    w_in = add_parameter("w_in", {L, inner_ * widest_, D}, in);
    w_out = add_parameter("w_out", {L, O, widest_}, out);
    if (!options.bias) return;
    b_in = add_parameter("b_in", {L, inner_ * widest_}, bias_in);
    b_out = add_parameter("b_out", {L, O}, stacked(Role::kBias));
  }

  Tensor forward(const ExpertRows& rows, const LayerContext& context) override {
    const Tensor offsets_L = rows.offsets_L.to(at::kCPU);
    const int64_t* const begin_L = offsets_L.const_data_ptr<int64_t>();
    const int64_t held = begin_L[shape_.held()];
    const Tensor keep_RF = dropout_mask(rows, shape_, widest_, options_.dropout, context);
    const auto weights = weights_of_groups(rows.source_SD.scalar_type());
    std::vector<Tensor> parts;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const Group& group = groups_[g];
      const int64_t first = begin_L[group.begin], last = begin_L[group.end];
      const bool indexed = rows.index_R.defined();
      parts.push_back(ops::grouped_mlp(
          indexed ? rows.source_SD : rows.source_SD.slice(0, first, last),
          indexed ? rows.index_R.slice(0, first, last) : Tensor(),
          rows.offsets_L.slice(0, group.begin, group.end + 1) - first, weights[g],
          keep_RF.defined() ? keep_RF.slice(0, first, last).narrow(1, 0, group.width).contiguous()
                            : Tensor()));
    }
    const Tensor out_RO = parts.size() == 1 ? parts.front() : at::cat(parts);
    return held == rows.rows() ? out_RO
                               : at::constant_pad_nd(out_RO, {0, 0, 0, rows.rows() - held});
  }

  int64_t flops_per_row() const override {
    return std::llround(2 * mean_width() *
                        static_cast<double>(inner_ * shape_.d_model + shape_.output()));
  }

  std::vector<double> costs() const override {
    std::vector<double> out;
    for (const int64_t width : widths_E_) out.push_back(static_cast<double>(width) / mean_width());
    return out;
  }

 private:
  int64_t width_of(int64_t local) const {
    return widths_E_[static_cast<size_t>(shape_.number_of(local))];
  }
  double mean_width() const {
    return static_cast<double>(std::accumulate(widths_E_.begin(), widths_E_.end(), int64_t{0})) /
           static_cast<double>(widths_E_.size());
  }

  /// A group's part of a parameter: all numbers of its experts, padding too. The gradients of all
  /// groups together are one stack.
  std::vector<Tensor> split(const Tensor& parameter) const {
    if (!parameter.defined()) return std::vector<Tensor>(groups_.size());
    std::vector<int64_t> sizes;
    for (const Group& group : groups_) sizes.push_back(group.experts());
    return parameter.split_with_sizes(sizes, 0);
  }

  /// The first `rows` rows and `columns` columns of each matrix of a stack.
  static ops::ExpertTable cut(const Tensor& stack, int64_t rows, int64_t columns,
                              at::ScalarType type) {
    const auto stored = stack.scalar_type();
    const bool learns = at::GradMode::is_enabled() && stack.requires_grad();
    if (!learns && stack.is_cpu() && (stored == at::kFloat || stored == at::kBFloat16) &&
        (type == at::kFloat || type == at::kBFloat16)) {
      const auto format =
          stored == at::kFloat ? ops::NumberFormat::kFloat32 : ops::NumberFormat::kBFloat16;
      const int64_t row_bytes = ops::bytes_of(format, stack.size(2));
      const auto* const data = static_cast<const char*>(stack.const_data_ptr());
      std::vector<ops::Matrix> matrices;
      for (int64_t e = 0; e < stack.size(0); ++e)
        matrices.push_back({format, data + e * stack.size(1) * row_bytes, row_bytes});
      return {rows, columns, matrices, std::make_shared<Tensor>(stack)};
    }
    return stack.narrow(1, 0, rows).narrow(2, 0, columns).contiguous();
  }

  std::vector<ops::MlpParameters> weights_of_groups(at::ScalarType type) const {
    const auto in = split(w_in), out = split(w_out), bias_in = split(b_in), bias_out = split(b_out);
    std::vector<ops::MlpParameters> found;
    for (size_t g = 0; g < groups_.size(); ++g) {
      const int64_t F = groups_[g].width, H = inner_ * F;
      found.push_back({cut(in[g], H, shape_.d_model, type),
                       b_in.defined() ? bias_in[g].narrow(1, 0, H).contiguous() : Tensor(),
                       cut(out[g], shape_.output(), F, type), bias_out[g], activation_, inner_ == 2,
                       options_.recompute});
    }
    return found;
  }

  MixedWidthsExpert options_;
  ops::Activation activation_;
  int64_t inner_, widest_ = 0;
  std::vector<int64_t> widths_E_;
  std::vector<Group> groups_;
  Tensor w_in, b_in, w_out, b_out;
};

}  // namespace

MOE_KIND(expert_kinds, mixed_widths, MixedWidths, MixedWidthsExpert)

}  // namespace moe::experts
