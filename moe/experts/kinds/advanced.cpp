// L experts on this rank, D in, F hidden, O out, R rows.
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <moe/experts/stacked.h>

namespace moe::experts {

namespace {

/// The dropout that gives the kind its name is on; 0 switches it off.
struct AdvancedOptions : FeedForwardOptions {
  double norm_epsilon = 1e-5;

  AdvancedOptions() {
    bias = true;
    dropout = 0.1;
  }

  template <class Visitor>
  void fields(Visitor& v) {
    FeedForwardOptions::fields(v);
    v("norm_epsilon", norm_epsilon, "added to the variance of the hidden units");
  }

  void validate(const std::string& place) const {
    FeedForwardOptions::validate(place);
    check<ConfigError>(norm_epsilon > 0, "config", "expected '",
                       detail::dotted(place, "norm_epsilon"), "' above 0, got ", norm_epsilon,
                       ". Raise it.");
  }
};

/// E3, advanced: out = w_out (act(LayerNorm(w_in x + b_in)) * keep) + b_out, with w_in (L, F, D)
/// and w_out (L, O, F). The norm is over the hidden units, with scale (L, F) and shift b_norm (L,
/// F) of each expert; keep is dropout in training. Unlike ffn it saves the hidden units before and
/// behind the norm.
class AdvancedExperts final : public StackedExperts {
 public:
  AdvancedExperts(const ExpertsShape& shape, const AdvancedOptions& options)
      : StackedExperts(shape, options, /*inner=*/1, "experts/advanced"),
        epsilon_(options.norm_epsilon) {
    scale = register_parameter("scale", at::ones({shape_.held(), shape_.d_ff}));
    b_norm = register_parameter("b_norm", at::zeros({shape_.held(), shape_.d_ff}));
  }

  Tensor forward(const ExpertRows& rows, const RoutingContext& context) override {
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

}  // namespace moe::experts

MOE_EXPERTS(advanced, AdvancedExperts, AdvancedOptions)
