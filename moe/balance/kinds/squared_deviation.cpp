// E experts.
#include <ATen/TensorOperators.h>

#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>

namespace moe::balance {

namespace {

struct SquaredDeviationOptions {
  std::string form = "sum";

  template <class Visitor>
  void fields(Visitor& v) {
    v("form", form,
      "\"sum\" of the squared deviations over experts, or their \"mean\" (mean squared error)");
  }

  void validate(const std::string&) const {
    check_one_of("balance/squared_deviation", "form", form, {"sum", "mean"});
  }
};

/// B2: sum_e (P_e - 1/E)^2, or that divided by E; P_e is the mean probability of e over the tokens
/// of all ranks. 0 at balance, 1 - 1/E (sum) when one expert has all probability. Sums: [p_E,
/// tokens].
class SquaredDeviationTerm final : public Term {
 public:
  SquaredDeviationTerm(const TermShape& shape, const SquaredDeviationOptions& options)
      : even_(1 / static_cast<double>(shape.num_experts)), mean_(options.form == "mean") {}

  Tensor sums(const BalanceInputs& inputs) const override {
    return probability_sums(inputs.routing);
  }

  Tensor value(const Tensor& sums, const RoutingContext&) const override {
    const Tensor squared_E = (mean_probability(sums) - even_).square();
    return mean_ ? squared_E.mean() : squared_E.sum();
  }

  double value_at_balance() const override { return 0; }

 private:
  double even_;
  bool mean_;
};

}  // namespace

}  // namespace moe::balance

MOE_BALANCE_TERM(squared_deviation, SquaredDeviationTerm, SquaredDeviationOptions)
