// E experts, P numbers an expert.
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/similarity.h>
#include <moe/balance/router_rows.h>
#include <moe/balance/term.h>

namespace moe::balance {

namespace {

/// SimBal (Omi et al. 2025, arXiv 2506.14038): ||R^T R - I||_1, the sum of the absolute elements,
/// where the columns of R are the router's rows w_e: rows that are orthogonal and of length 1 keep
/// the angles between tokens, so that similar tokens get similar experts. It does not look at load.
/// 0 for orthonormal rows, which needs D >= E.
///
/// Sums: the rows (E, P) flattened, from the first rank, as every rank has them.
class SimilarityTerm final : public Term {
 public:
  SimilarityTerm(const TermShape& shape, const SimilarityLoss&)
      : Term(shape), experts_(shape.num_experts) {}

  Tensor sums(const BalanceInputs& inputs) const override {
    return sums_of_router_rows(inputs, experts_, "balance/similarity");
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    if (sums.numel() == 0) return at::zeros({}, sums.options());
    const Tensor w_EP = sums.reshape({experts_, -1});
    return (at::matmul(w_EP, w_EP.t()) - at::eye(experts_, sums.options())).abs().sum();
  }

  bool wants_weights() const override { return true; }

  double value_at_balance() const override { return std::numeric_limits<double>::quiet_NaN(); }

 private:
  int64_t experts_;
};

}  // namespace

MOE_KIND(terms, similarity, SimilarityTerm, SimilarityLoss)

}  // namespace moe::balance
