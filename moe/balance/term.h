#pragma once
// T tokens, E experts, L experts on this rank.

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <moe/balance/convert.h>
#include <moe/base/registry.h>
#include <moe/flow/context.h>
#include <moe/flow/routing.h>
#include <moe/parameters/list.h>
#include <moe/parameters/module.h>

namespace moe::balance {

using at::Tensor;

/// What every term is made for.
struct TermShape {
  int64_t num_experts = 0;
  int64_t top_k = 1;
  /// Of its state.
  at::TensorOptions tensors = {};
  /// What a token costs at each expert, over the mean of all; empty: everywhere the same.
  std::vector<double> costs = {};
  /// How many experts, the last ones, compute no product (zero, copy and constant experts).
  int64_t free_experts = 0;
};

/// The parameters of a layer, for terms on weights.
struct LayerWeights {
  /// The same on every rank.
  Parameters router;
  /// Stacked on dimension 0: this rank's own L experts, whose numbers their info says; L may be 0.
  /// Zeros where a rank with a copy of the same experts counts them.
  Parameters experts;
};

/// What a term looks at; refers to what the caller holds.
struct BalanceInputs {
  const Routing& routing;
  const LayerContext& context;
  /// Null where nothing learns from a loss on weights (inference), which is 0 then, and where no
  /// term of the layer wants weights.
  const LayerWeights* weights = nullptr;
  /// True on one rank of the group: what every rank holds counts in the sums of that rank alone.
  bool first_rank = true;
  /// () int64: pairs that found no room; undefined: those of the routing that are marked.
  Tensor dropped = {};
  /// (X + 2,) int64 of this rank, for BalanceReport::rows_X2; undefined: nothing travels.
  Tensor rows_X2 = {};
};

/// A loss on the routing or on the weights behind it. Extension point: one file in kinds/ and one
/// line in losses.def add a kind.
///
/// Two halves, so that ranks change nothing: `sums` gives local sums, which the layer adds over
/// ranks in one all-reduce; `value` finishes them. Gradient flows through scores, logits and
/// weights only, never through counts. `sums` and `value` change nothing and are thread-safe; state
/// across steps lives in registered buffers, the same on every rank, and moves only in end_step.
class Term : public Module {
 public:
  explicit Term(const TermShape& shape) : Module(shape.tensors) {}

  /// 1-D local sums, differentiable, of a length that is the same on every rank and for any number
  /// of tokens. Routings without scores give zeros.
  virtual Tensor sums(const BalanceInputs& inputs) const = 0;
  /// () the loss before its coefficient. `sums` is 1-D as above, added over ranks.
  virtual Tensor value(const Tensor& sums, const LayerContext& context) const = 0;
  /// What `value` returns when load and probability are uniform; NaN where that depends on the
  /// logits or weights.
  virtual double value_at_balance() const = 0;
  /// Whether the term goes on adding over the micro-batches of an optimizer step: `sums` then holds
  /// those of the earlier ones too, while its gradient stays that of a loss of this one's tokens.
  virtual bool over_step() const { return false; }
  /// True for terms on weights: only they are handed `BalanceInputs::weights`.
  virtual bool wants_weights() const { return false; }
  /// Whether it drives how many experts a token gets towards top_k, which says nothing beside a
  /// router that gives every token top_k.
  virtual bool drives_choices() const { return false; }
  /// Called once after an optimizer step, with counts over all ranks and micro-batches.
  virtual void end_step(const StepStatistics& statistics);
};

using TermRegistry = Registry<Term, TermShape>;

/// The built-in kinds of losses.def and those added at run time.
TermRegistry& terms();

/// A balance term by name; the other keys are that kind's own options.
struct BalanceSpec {
  using Fields = SpecFields<terms>;

  std::string kind = "switch";
  double coefficient = 0.01;
  Table options = {};
  std::string convention = kOwnConvention;

  template <class Visitor>
  void fields(Visitor& v) {
    Fields::kind(v, kind);
    v("coefficient", coefficient, "factor of the term in the loss");
    v("convention", convention,
      "whose formula the coefficient is meant for: own, transformers, flaxformer, megatron, "
      "deepspeed, tutel, mesh_tensorflow or gshard (the paper); see docs/balance.md");
    v.rest(options);
  }
  void find_unknown(UnknownKeys& unknown) const { Fields::find_unknown(*this, unknown); }
  void validate(const std::string& place) const;
  void resolve() { Fields::resolve(*this); }
  std::shared_ptr<Term> make(const TermShape& shape) const { return Fields::make(*this, shape); }
  /// The coefficient in this library's convention, in a model of so many layers with the term.
  double own_coefficient(const TermShape& shape, int64_t layers) const;
};

/// The spec of kind `name` with `options`, which have a coefficient: what a public option struct
/// converts to.
template <class Options>
BalanceSpec balance_spec_of(const std::string& name, const Options& options) {
  BalanceSpec spec = spec_of<BalanceSpec>(name, options);
  spec.coefficient = options.coefficient;
  return spec;
}

}  // namespace moe::balance

namespace moe {
using balance::BalanceSpec;
}  // namespace moe
