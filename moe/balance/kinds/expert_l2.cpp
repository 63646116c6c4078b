// L experts on this rank.
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/expert_l2.h>
#include <moe/balance/term.h>
#include <moe/ops/sums.h>

namespace moe::balance {

namespace {

/// Half the sum of squares of the weights of all experts, so that the coefficient is a weight
/// decay of the experts alone (its gradient is coefficient * w). Vectors of an expert (biases) take
/// part if asked for. Sums: [sum of squares of this rank's experts].
class ExpertL2Term final : public Term {
 public:
  ExpertL2Term(const TermShape& shape, const ExpertL2Loss& options)
      : Term(shape), biases_(options.biases) {}

  Tensor sums(const BalanceInputs& inputs) const override {
    Tensor total = at::zeros({1}, inputs.routing.experts_N.options().dtype(at::kDouble));
    if (!inputs.weights) return total;
    for (const auto& [name, stacked, info] : inputs.weights->experts)
      if (biases_ || info.role == Role::kMatrix) total = total + ops::sum_of_all(stacked.square());
    return total;
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override { return sums[0] / 2; }

  bool wants_weights() const override { return true; }

  double value_at_balance() const override { return std::numeric_limits<double>::quiet_NaN(); }

 private:
  bool biases_;
};

}  // namespace

MOE_KIND(terms, expert_l2, ExpertL2Term, ExpertL2Loss)

}  // namespace moe::balance
