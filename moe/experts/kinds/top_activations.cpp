// L experts on this rank, D in, F hidden, k kept, O out, R rows.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros_like.h>

#include <moe/experts/kinds/top_activations.h>
#include <moe/experts/stacked.h>

namespace moe {

void TopActivationsExpert::validate(const std::string& place) const {
  experts::FeedForwardOptions{.dropout = dropout}.validate(place);
  check<ConfigError>((kept > 0 && kept <= 1) || (kept >= 2 && kept == std::floor(kept)), "config",
                     "expected '", detail::dotted(place, "kept"),
                     "' to be a share in (0, 1] or a whole number from 2 on, got ", kept,
                     ". Correct it.");
}

}  // namespace moe

namespace moe::experts {

namespace {

int64_t number_kept(double kept, int64_t d_ff) {
  if (kept > 1) return static_cast<int64_t>(kept);
  return std::max<int64_t>(1, std::llround(kept * static_cast<double>(d_ff)));
}

/// out = w_out (top_k(h) * keep) + b_out, where top_k leaves of each row the k units of the largest
/// |h| and sets the others to 0; h is that of `gated` or `ffn`, w_in and w_out too. (Top-k
/// activations: k-sparse autoencoders, Makhzani and Frey 2013; inside experts, the neuron-level
/// sparsity of Zhang et al. 2022.) Gradient flows through the kept units alone; of equal ones
/// libtorch's topk says which stay, by the row's own numbers.
///
/// The second product runs over all columns: over the kept ones alone it is as fast at a quarter
/// kept and faster below, but by less than finding the largest units costs (docs/experts.md has the
/// numbers). So the kind gives sparse hidden units, and no time.
class TopActivations final : public StackedExperts {
 public:
  TopActivations(const ExpertsShape& shape, const TopActivationsExpert& options)
      : StackedExperts(
            shape,
            {.activation = options.activation, .bias = options.bias, .dropout = options.dropout},
            options.gated ? 2 : 1, "experts/top_activations"),
        kept_(number_kept(options.kept, shape.d_ff)) {
    check<ConfigError>(kept_ <= shape.d_ff, "experts/top_activations",
                       "expected kept of at most d_ff=", shape.d_ff, ", got ", kept_,
                       ". Lower it, or give a share.");
  }

  Tensor forward(const ExpertRows& rows, const LayerContext& context) override {
    const Tensor& offsets_L = rows.offsets_L;
    const Tensor pre_RH = ops::grouped_matmul(rows.source_SD, rows.index_R, offsets_L, w_in, b_in);
    const int64_t F = shape_.d_ff;
    Tensor h_RF = inner_ == 2
                      ? ops::activate(pre_RH.narrow(1, 0, F), activation_) * pre_RH.narrow(1, F, F)
                      : ops::activate(pre_RH, activation_);
    h_RF = h_RF * largest(h_RF);
    if (const Tensor keep_RF = keep_mask(rows, context); keep_RF.defined()) h_RF = h_RF * keep_RF;
    return ops::grouped_matmul(h_RF, /*index_R=*/{}, offsets_L, w_out, b_out);
  }

 private:
  /// (R, F) 1 where the unit stays, else 0.
  Tensor largest(const Tensor& h_RF) const {
    const Tensor size_RF = h_RF.detach().abs();
    const Tensor kept_Rk =
        std::get<1>(at::topk(size_RF, kept_, /*dim=*/1, /*largest=*/true, /*sorted=*/false));
    return at::zeros_like(size_RF).scatter_(1, kept_Rk, 1);
  }

  int64_t kept_;
};

}  // namespace

MOE_KIND(expert_kinds, top_activations, TopActivations, TopActivationsExpert)

}  // namespace moe::experts
