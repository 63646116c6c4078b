#pragma once
// T tokens, N images, M sums.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <moe/base/random.h>
#include <moe/base/registry.h>
#include <moe/data/batch.h>
#include <moe/models/model.h>

namespace moe::objectives {

/// What an objective found in the rows of a batch that this rank has.
struct ObjectiveResult {
  /// () sum of the losses of all targets; differentiable.
  Tensor loss;
  /// (M,) float64 on the CPU, without gradient: sums that add up over batches and ranks, and that
  /// `metrics` makes numbers of. The first two are the loss and the number of targets.
  Tensor sums_M;
};

/// A number under its name, as metrics.jsonl has it.
using Metric = std::pair<std::string, double>;

/// What every objective is made for.
struct ObjectiveShape {
  models::ModelTraits model = {};
  data::DataTraits data = {};
};

/// What a model is trained for and judged by: a loss of its output and the targets of a batch.
/// Extension point: one file in kinds/ and one line in objectives.def add a kind. Const and
/// thread-safe.
///
/// A loss is a sum over targets, divided by the number of targets of the whole step, so that it
/// does not depend on how a step is cut into micro-batches and ranks. Constructors throw
/// ConfigError when the model does not answer what the data ask.
class Objective {
 public:
  virtual ~Objective() = default;

  /// The batch as the model is to read it, with what it is to answer: `batch` itself, unless the
  /// objective hides or changes some of it. Comes before all other calls; on the CPU. `key` names
  /// the step's random numbers (in evaluation the same each time), global token numbers index them.
  virtual data::Batch prepared(const data::Batch& batch, const RandomKey& /*key*/) const {
    return batch;
  }
  /// Targets in a batch, known before a model has seen it.
  virtual int64_t targets(const data::Batch& batch) const = 0;
  /// `output` is the model's for batch.inputs, on whose device the targets are. It asks the head
  /// for what it needs, in the type `compute` (Undefined: that of the parameters). Without targets
  /// the loss is 0 and still depends on the output.
  virtual ObjectiveResult forward(models::Model& model, const models::ModelOutput& output,
                                  const data::Batch& batch, at::ScalarType compute) const = 0;
  /// Whether the model predicts a distribution of each target, of which two passes can be compared.
  virtual bool has_distribution() const { return false; }
  /// () float64, differentiable: the sum over targets of the symmetric divergence (KL(p || q) +
  /// KL(q
  /// || p)) / 2 of what two passes over a batch predict. Throws moe::Error without a distribution.
  virtual Tensor divergence(models::Model& model, const models::ModelOutput& first,
                            const models::ModelOutput& second, const data::Batch& batch,
                            at::ScalarType compute) const;
  /// What evaluations report of sums over everything: "loss", the mean, first. NaN without targets.
  virtual std::vector<Metric> metrics(const Tensor& sums_M) const;
};

using ObjectiveRegistry = Registry<Objective, ObjectiveShape>;

/// The built-in kinds of objectives.def and those added at run time.
ObjectiveRegistry& objectives();

using ObjectiveSpec = KindSpec<objectives, "next_token">;

}  // namespace moe::objectives
