#pragma once
// D model width, F expert hidden width, O output width, E experts in all, L experts on this rank, R
// rows.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <torch/nn/module.h>

#include <moe/base/registry.h>
#include <moe/flow/context.h>
#include <moe/flow/plan.h>
#include <moe/ops/rows.h>

namespace moe::experts {

/// What every kind of expert is made for. Experts first .. first + local of `num_experts` live on
/// this rank; their parameters are stacked on dimension 0 ([L, …]) under names that do not mention
/// ranks.
struct ExpertsShape {
  int64_t d_model = 0;
  int64_t d_ff = 0;
  int64_t d_out = 0;  // 0: d_model
  int64_t num_experts = 0;
  int64_t first = 0;
  int64_t local = 0;  // 0: all

  int64_t output() const { return d_out > 0 ? d_out : d_model; }
  int64_t held() const { return local > 0 ? local : num_experts; }
};

/// Expert-ordered rows -> outputs. A swap point: one file in kinds/ and one line in experts.def add
/// a kind.
///
/// Takes lazy rows (source matrix + index); computes in the dtype of the source, whatever the
/// parameters' dtype is. An expert may have no row.
class Experts : public torch::nn::Module {
 public:
  explicit Experts(const ExpertsShape& shape);

  /// (R, O) in the order of `rows`; rows behind the last offset are undefined. Weights are the
  /// dispatcher's business.
  virtual Tensor forward(const ExpertRows& rows, const RoutingContext& context) = 0;
  /// ops::combine_rows(forward(rows, context), pairs): (T, O) float32 or float64. Kinds that need
  /// no rows for the backward pass of the sum do both at once.
  virtual Tensor forward_combined(const ExpertRows& rows, const ops::Combination& pairs,
                                  const RoutingContext& context);
  /// Multiply-add pairs x 2 of one row's forward pass.
  virtual int64_t flops_per_row() const = 0;
  /// Every parameter with this rank's experts stacked on dimension 0, by name: what terms on
  /// weights look at. Throws where experts differ in shape.
  virtual std::vector<std::pair<std::string, Tensor>> stacked_parameters() const;
  /// True when the parameters come with their start: initialise() leaves them alone.
  virtual bool keeps_its_start() const { return false; }

  const ExpertsShape& shape() const { return shape_; }

 protected:
  ExpertsShape shape_;
};

/// Makes the experts of one rank.
using ExpertsMaker = std::function<std::shared_ptr<Experts>(const ExpertsShape&)>;

using ExpertsRegistry = Registry<Experts, ExpertsShape>;

/// The built-in kinds of experts.def and those added at run time.
ExpertsRegistry& expert_kinds();

/// Makes `Class(const ExpertsShape&, const Options&)` known as `name`.
template <class Class, class Options = NoOptions>
void register_experts(const std::string& name, const std::string& help) {
  expert_kinds().add(name, help, kind_of<Experts, ExpertsShape, Class, Options>());
}

}  // namespace moe::experts

/// In kinds/NAME.cpp: what experts.def's X(NAME, "help") refers to.
#define MOE_EXPERTS(name, Class, Options)                    \
  namespace moe::experts::kinds {                            \
  ExpertsRegistry::Entry make_##name() {                     \
    return kind_of<Experts, ExpertsShape, Class, Options>(); \
  }                                                          \
  }
