#pragma once
// T tokens, D model width, E experts.

#include <moe/ops/choice.h>
#include <moe/routing/router.h>

namespace moe::routing {

/// A router whose logits are one matrix product: l_TE = x_TD W^T + b.
///
/// Parameters: "weight" (E, D) and, if asked for, "bias" (E). A kind that balances without a loss
/// (DeepSeek-V3) adds the buffer "selection_bias" (E) float32: it takes part in the selection only,
/// and no gradient reaches it.
class LinearRouter : public Router {
 public:
  LinearRouter(const RouterShape& shape, bool with_bias);

 protected:
  /// (T, E) in float32, or float64 when the input or the weight is; autocast changes nothing.
  /// Throws unless x_TD is floating and (T, D).
  Tensor logits(const Tensor& x_TD) const;
  /// Choices by these logits and the selection bias if there is one, in one op: cheaper than
  /// `logits` and ops::choose.
  ops::Choices choose(const Tensor& x_TD, const ops::ChoiceRule& rule) const;
  /// The dtype that `logits` computes in.
  at::ScalarType score_type(const Tensor& x_TD) const;
  /// For constructors.
  void add_selection_bias();
  /// Undefined without.
  const Tensor& selection_bias() const { return selection_bias_E_; }
  /// b_e += rate * sign(mean(c) - c_e), with a selection bias; nothing to do without.
  void move_selection_bias(const StepStatistics& statistics, double rate);

 private:
  Tensor weight_ED_, bias_E_, selection_bias_E_;
};

}  // namespace moe::routing
