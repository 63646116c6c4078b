#pragma once
// D model width, F expert hidden width, O output width, E experts in all, L experts on this rank, R
// rows.

#include <functional>
#include <memory>
#include <vector>

#include <moe/base/registry.h>
#include <moe/flow/context.h>
#include <moe/flow/plan.h>
#include <moe/ops/rows.h>
#include <moe/parameters/list.h>
#include <moe/parameters/module.h>

namespace moe::experts {

/// What every kind of expert is made for. Experts first .. first + local of `num_experts`, or those
/// that a placement says, live on this rank, on some ranks perhaps none; their parameters are
/// stacked on dimension 0 ([L, …]) under names that do not mention ranks.
struct ExpertsShape {
  int64_t d_model = 0;
  int64_t d_ff = 0;
  int64_t d_out = 0;  // 0: d_model
  int64_t num_experts = 0;
  int64_t first = 0;
  int64_t local = -1;  // -1: all
  /// Who holds which, instead of first and local, and which of its ranks this is; null: they say
  /// it.
  std::shared_ptr<const ExpertPlacement> placement = {};
  int64_t rank = 0;
  /// Of the parameters.
  at::TensorOptions tensors = {};

  int64_t output() const { return d_out > 0 ? d_out : d_model; }
  int64_t held() const {
    if (placement) return static_cast<int64_t>(placement->held_by(rank).size());
    return local >= 0 ? local : num_experts;
  }
  /// The number among all experts of this rank's expert `row`.
  int64_t number_of(int64_t row) const {
    return placement ? placement->held_by(rank)[static_cast<size_t>(row)] : first + row;
  }
  /// How many of this rank's experts, the last, are copies of other ranks'.
  int64_t copies() const { return placement ? held() - placement->own_of(rank) : 0; }
};

/// Expert-ordered rows -> outputs. Extension point: one file in kinds/ and one line in experts.def
/// add a kind.
///
/// Takes lazy rows (source matrix + index); computes in the dtype of the source, whatever the
/// parameters' dtype is. An expert may have no row.
class Experts : public Module {
 public:
  explicit Experts(const ExpertsShape& shape);

  std::optional<Part> part() const final { return Part::kExperts; }

  /// (R, O) in the order of `rows`; rows behind the last offset are undefined. Weights are the
  /// dispatcher's business. Not called on ranks without experts.
  virtual Tensor forward(const ExpertRows& rows, const LayerContext& context) = 0;
  /// ops::combine_rows(forward(rows, context), pairs): (T, O) float32 or float64. Kinds that need
  /// no rows for the backward pass of the sum do both at once.
  virtual Tensor forward_combined(const ExpertRows& rows, const ops::Combination& pairs,
                                  const LayerContext& context);
  /// Multiply-add pairs x 2 of one row's forward pass.
  virtual int64_t flops_per_row() const = 0;
  /// What a row costs at each of the num_experts experts, over the mean of all; empty: everywhere
  /// the same.
  virtual std::vector<double> costs() const { return {}; }
  /// Every parameter with this rank's experts stacked on dimension 0: what terms on weights look
  /// at. Throws where experts differ in shape.
  virtual Parameters stacked_parameters() const;

  const ExpertsShape& shape() const { return shape_; }

 protected:
  /// What a parameter of this rank's stack is: [L, …].
  ParameterInfo stacked(Role role) const;

  ExpertsShape shape_;
};

/// Makes the experts of one rank.
using ExpertsMaker = std::function<std::shared_ptr<Experts>(const ExpertsShape&)>;

using ExpertsRegistry = Registry<Experts, ExpertsShape>;

/// The built-in kinds of experts.def and those added at run time.
ExpertsRegistry& expert_kinds();

/// A kind of expert by name; the other keys are that kind's own options.
struct ExpertSpec {
  using Fields = SpecFields<expert_kinds>;

  std::string kind = "gated";
  int64_t d_ff = 0;
  Table options = {};

  template <class Visitor>
  void fields(Visitor& v) {
    Fields::kind(v, kind);
    v("d_ff", d_ff,
      "hidden units of one expert; 0: the default of the layer (4 d_model) or model (2 d_model)");
    v.rest(options);
  }
  void find_unknown(UnknownKeys& unknown) const { Fields::find_unknown(*this, unknown); }
  void validate(const std::string& place) const { Fields::validate(*this, place); }
  void resolve() { Fields::resolve(*this); }
  /// `shape` says how many hidden units, not d_ff.
  std::shared_ptr<Experts> make(const ExpertsShape& shape) const {
    return Fields::make(*this, shape);
  }
};

/// The spec of kind `name` with `options`, which have a d_ff: what a public option struct converts
/// to.
template <class Options>
ExpertSpec expert_spec_of(const std::string& name, const Options& options) {
  ExpertSpec spec = spec_of<ExpertSpec>(name, options);
  spec.d_ff = options.d_ff;
  return spec;
}

}  // namespace moe::experts

namespace moe {
using experts::ExpertSpec;
}  // namespace moe
