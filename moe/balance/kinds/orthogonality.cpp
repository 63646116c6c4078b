// E experts, L experts on this rank, P numbers an expert.
#include <algorithm>
#include <limits>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/triu.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/orthogonality.h>
#include <moe/balance/router_rows.h>
#include <moe/balance/term.h>

namespace moe {

void OrthogonalityLoss::validate(const std::string&) const {
  check_one_of("balance/orthogonality", "of", of, {"router", "experts"});
  check_one_of("balance/orthogonality", "form", form, {"squared", "signed"});
}

}  // namespace moe

namespace moe::balance {

namespace {

/// Mean over pairs of experts of cos(w_i, w_j)^2, or of cos(w_i, w_j), where w_i are all
/// numbers of expert i in one row. 0 when the weights are orthogonal, 1 when they are parallel;
/// signed cosines go down to -1/(E-1).
///
/// Sums: the unit rows (E, P) flattened, each from the rank that holds the expert (the router's
/// from the first rank), so that adding over ranks gathers them.
class OrthogonalityTerm final : public Term {
 public:
  OrthogonalityTerm(const TermShape& shape, const OrthogonalityLoss& options)
      : Term(shape),
        experts_(shape.num_experts),
        of_router_(options.of == "router"),
        squared_(options.form == "squared") {}

  Tensor sums(const BalanceInputs& inputs) const override {
    if (!inputs.weights)
      return at::zeros({0}, inputs.routing.experts_N.options().dtype(at::kDouble));
    const Tensor w_EP = of_router_ ? router_rows(inputs, experts_, "balance/orthogonality",
                                                 "Take of = \"experts\", or another router.")
                                   : expert_rows(*inputs.weights);
    const Tensor squares_E1 = w_EP.square().sum(1, /*keepdim=*/true);
    return (w_EP / squares_E1.clamp_min(1e-24).sqrt()).to(at::kDouble).flatten();
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    if (sums.numel() == 0) return at::zeros({}, sums.options());
    const Tensor unit_EP = sums.reshape({experts_, -1});
    const Tensor cosine_EE = at::triu(at::matmul(unit_EP, unit_EP.t()), /*diagonal=*/1);
    const double pairs = static_cast<double>(experts_ * (experts_ - 1)) / 2;
    return (squared_ ? cosine_EE.square() : cosine_EE).sum() / std::max(pairs, 1.0);
  }

  bool wants_weights() const override { return true; }

  double value_at_balance() const override { return std::numeric_limits<double>::quiet_NaN(); }

 private:
  /// (E, P), zeros for the experts of other ranks.
  Tensor expert_rows(const LayerWeights& weights) const {
    std::vector<Tensor> parts;
    std::vector<int64_t> number_L;
    for (const auto& [name, stacked, info] : weights.experts) {
      if (info.role != Role::kMatrix) continue;
      parts.push_back(stacked.flatten(1));
      number_L.resize(static_cast<size_t>(stacked.size(0)));
      for (int64_t row = 0; row < stacked.size(0); ++row)
        number_L[static_cast<size_t>(row)] = info.number_of(row);
    }
    check<ConfigError>(!parts.empty(), "balance/orthogonality",
                       "expected experts with stacked matrices (L, rows, columns), got none. Take "
                       "of = \"router\".");
    const Tensor w_LP = at::cat(parts, 1);
    return at::zeros({experts_, w_LP.size(1)}, w_LP.options())
        .index_copy(0, at::tensor(number_L, w_LP.options().dtype(at::kLong)), w_LP);
  }

  int64_t experts_;
  bool of_router_, squared_;
};

}  // namespace

MOE_KIND(terms, orthogonality, OrthogonalityTerm, OrthogonalityLoss)

}  // namespace moe::balance
