#pragma once

#include <memory>
#include <vector>

#include <moe/parameters/list.h>
#include <moe/train/options.h>
#include <moe/train/state_shares.h>

namespace moe::train {

/// What every optimizer is made for.
struct OptimizerShape {
  /// Those that learn.
  Parameters parameters;
  /// What is not the kind's own: rates and decay.
  OptimizerOptions options;
  /// Where state is kept.
  StateSharing sharing = {};
};

/// By number of a parameter: (E,) int64, the tokens that each expert of its layer got in a step
/// over all ranks and micro-batches; undefined for parameters outside of such layers.
using ExpertTokens = std::vector<Tensor>;

/// Changes parameters by their gradients. Extension point: one file in optimizers/ and one line in
/// optimizers.def add a kind.
///
/// What all kinds share is here: routers and experts (ParameterInfo::part) have learning rates of
/// their own, routers warm up, what decays() decays, and options.groups have their say by name and
/// expert (groups.h). Parameters without a gradient stay as they are, and so do experts that groups
/// freeze, their moments included. Every rank has an optimizer for what it holds; gradients are
/// reduced before.
///
/// A kind that makes its state by StateShares (zeros, part, entry) and says which rows it treats
/// apart can share it out over ranks; it is asked then to change only what this rank keeps the
/// state of.
class Optimizer {
 public:
  /// `rows_apart` where the kind's state can be shared out; throws ConfigError where it is to be
  /// and cannot.
  explicit Optimizer(const OptimizerShape& shape, const StateShares::RowsApart& rows_apart = {});
  virtual ~Optimizer() = default;

  /// One update at learning rate `lr`; `step` (from 0) is for warm-ups. With shared state all ranks
  /// call it, with gradients of the same parameters. Where needs_tokens() `tokens` say which
  /// experts are idle; throws moe::Error when they do not. Gradients count `gradient_factor` times
  /// (clip_factor), without a pass over memory of its own where the kind can; what stands in them
  /// afterwards is not said.
  void step(double lr, int64_t step, const ExpertTokens& tokens = {}, double gradient_factor = 1);
  /// Whether `step` asks which experts are idle.
  bool needs_tokens() const { return !decays_idle_ || skips_idle(); }
  void zero_gradients();

  const Parameters& parameters() const { return parameters_; }
  /// Whether row `row` of parameter number `index` learns; false for experts that groups freeze.
  bool learns(size_t index, int64_t row) const;
  /// Everything that `step` reads and changes beside the parameters, as checkpoints keep it. What
  /// belongs to a parameter has its info and a name that begins with its name.
  virtual Parameters state() const = 0;
  /// Of the state, what has the shape of parameter number `index`, or of its rows that this rank
  /// keeps the state of.
  virtual std::vector<Tensor> moments(size_t index) const = 0;
  /// Starts these moments again from zero, or those of some rows of the parameter.
  void forget(size_t index, const Rows& rows = {}) const;

 protected:
  /// A parameter that has a gradient, or some of its rows, and their rates in this step. Rows that
  /// no change names stay as they are. A parameter none of whose rows here learn (those of other
  /// ranks do) comes with no rows: its number of updates rises as theirs does.
  struct Change {
    size_t index = 0;
    double lr = 0;
    double weight_decay = 0;
    Rows rows = {};
  };
  /// A parameter comes in one change, or in several with rows of their own.
  virtual void update(const std::vector<Change>& changes) = 0;
  /// Whether `update` multiplies gradients by gradient_factor() as it reads them. For other kinds
  /// they are multiplied before.
  virtual bool multiplies_gradients() const { return false; }
  /// Whether experts that no token reached in a step stay as they are, their moments included.
  virtual bool skips_idle() const { return false; }
  double gradient_factor() const { return gradient_factor_; }
  const StateShares& shares() const { return shares_; }

 private:
  /// Rates of rows over those of the run.
  struct Pace {
    Rows rows = {};
    double lr_factor = 1;
    double weight_decay = 0;
    bool warms_up = false;
  };
  static std::vector<Pace> paces_of(const Parameter& parameter, const OptimizerOptions& options);
  /// Adds `change`; where idle experts do not decay or are skipped, split into those that are idle
  /// and the others.
  void add_change(const Change& change, const ExpertTokens& tokens, std::vector<Change>& out) const;

  Parameters parameters_;
  StateShares shares_;
  std::vector<std::vector<Pace>> paces_;
  int64_t warmup_;
  bool decays_idle_;
  double gradient_factor_ = 1;  // of the step that is being made
};

/// The optimizer that `options` describe, for those of `parameters` that need a gradient.
std::shared_ptr<Optimizer> make_optimizer(const Parameters& parameters,
                                          const OptimizerOptions& options,
                                          const StateSharing& sharing = {});

}  // namespace moe::train
