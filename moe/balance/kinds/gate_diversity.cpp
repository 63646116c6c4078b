// E experts, P numbers an expert.
#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/gate_diversity.h>
#include <moe/balance/router_rows.h>
#include <moe/balance/term.h>

namespace moe {

void GateDiversityLoss::validate(const std::string&) const {
  check<ConfigError>(
      std::isfinite(diversity) && diversity >= 0 && std::isfinite(simplicity) && simplicity >= 0,
      "balance/gate_diversity",
      "expected diversity and simplicity to be finite and at least 0, got ", diversity, " and ",
      simplicity, ". DynMoE uses 1 for both.");
}

}  // namespace moe

namespace moe::balance {

namespace {

/// DynMoE (Guo et al. 2024, arXiv 2405.14297): diversity ||U U^T - I||_F + simplicity mean_e
/// ||w_e||, with w_e the router's row of expert e and U its rows at unit length. 0 only for rows of
/// zeros; the load does not matter. Rows of experts that are not active count as the others do.
///
/// Sums: the rows (E, P) flattened, from the first rank, as every rank has them.
class GateDiversityTerm final : public Term {
 public:
  GateDiversityTerm(const TermShape& shape, const GateDiversityLoss& options)
      : Term(shape), experts_(shape.num_experts), options_(options) {}

  Tensor sums(const BalanceInputs& inputs) const override {
    return sums_of_router_rows(inputs, experts_, "balance/gate_diversity");
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    if (sums.numel() == 0) return at::zeros({}, sums.options());
    const Tensor w_EP = sums.reshape({experts_, -1});
    const Tensor length_E1 = at::linalg_vector_norm(w_EP, 2, {1}, /*keepdim=*/true);
    const Tensor unit_EP = w_EP / length_E1.clamp_min(1e-12);
    const Tensor apart_EE = at::matmul(unit_EP, unit_EP.t()) - at::eye(experts_, sums.options());
    return at::linalg_vector_norm(apart_EE) * options_.diversity +
           length_E1.mean() * options_.simplicity;
  }

  bool wants_weights() const override { return true; }

  double value_at_balance() const override { return std::numeric_limits<double>::quiet_NaN(); }

 private:
  int64_t experts_;
  GateDiversityLoss options_;
};

}  // namespace

MOE_KIND(terms, gate_diversity, GateDiversityTerm, GateDiversityLoss)

}  // namespace moe::balance
