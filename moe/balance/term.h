#pragma once
// T tokens, E experts, K choices per token, G groups (sequences).

#include <ATen/core/Tensor.h>

#include <moe/base/registry.h>
#include <moe/flow/context.h>
#include <moe/flow/routing.h>

namespace moe::balance {

using at::Tensor;

/// What every term is made for.
struct TermShape {
  int64_t num_experts = 0;
  int64_t top_k = 1;
};

/// A loss on the routing. A swap point: one file in kinds/ and one line in losses.def add a kind.
///
/// Two halves, so that ranks change nothing: `sums` gives local sums, which the layer adds over
/// ranks in one all-reduce; `value` finishes them. Gradient flows through scores and logits only,
/// never through counts. Padding tokens take no part. Stateless and thread-safe.
class Term {
 public:
  virtual ~Term() = default;

  /// 1-D local sums, differentiable, of a length that depends on the shape only. Routings without
  /// scores give zeros.
  virtual Tensor sums(const Routing& routing, const RoutingContext& context) const = 0;
  /// () the loss before its coefficient. `sums` is 1-D as above, added over ranks.
  virtual Tensor value(const Tensor& sums, const RoutingContext& context) const = 0;
  /// What `value` returns when load and probability are uniform; NaN where that depends on the
  /// logits.
  virtual double value_at_balance() const = 0;
};

using TermRegistry = Registry<Term, TermShape>;

/// The built-in kinds of losses.def and those added at run time.
TermRegistry& terms();

/// Makes `Class(const TermShape&, const Options&)` known as `name`.
template <class Class, class Options = NoOptions>
void register_balance_term(const std::string& name, const std::string& help) {
  terms().add(name, help, kind_of<Term, TermShape, Class, Options>());
}

}  // namespace moe::balance

/// In kinds/NAME.cpp: what losses.def's X(NAME, "help") refers to.
#define MOE_BALANCE_TERM(name, Class, Options)         \
  namespace moe::balance::kinds {                      \
  TermRegistry::Entry make_##name() {                  \
    return kind_of<Term, TermShape, Class, Options>(); \
  }                                                    \
  }
