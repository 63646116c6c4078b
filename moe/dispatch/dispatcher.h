#pragma once
// T tokens, D width, N pairs, R rows of this rank's experts.

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <moe/base/registry.h>
#include <moe/flow/context.h>
#include <moe/flow/plan.h>
#include <moe/flow/routing.h>
#include <moe/ops/rows.h>
#include <moe/parallel/communicator.h>
#include <moe/parallel/exchange.h>
#include <moe/parameters/expert_placement.h>

namespace moe::dispatch {

/// What every dispatcher is made for.
struct DispatcherShape {
  int64_t num_experts = 0;
  /// The ranks that share the experts.
  std::shared_ptr<parallel::Communicator> group;
  /// How rows travel between them.
  parallel::ExchangeSettings exchange = {};
  /// Who holds which; null: rank w share_of(num_experts, ranks, w).
  std::shared_ptr<const ExpertPlacement> placement = {};
};

/// What this rank's experts make of rows: (R, O) in their order. Also of none, on a rank without
/// rows or without experts; what they return must depend on the rows in the graph even then, so
/// that the collective backward pass runs.
using RunExperts = std::function<Tensor(const ExpertRows& rows)>;

/// Token order <-> expert order, across ranks if need be. Extension point: one file in kinds/ and
/// one line in dispatchers.def add a kind. Stateless; collectives run also for ranks without
/// tokens.
class Dispatcher {
 public:
  virtual ~Dispatcher() = default;

  /// Sorts the pairs by expert and agrees with the other ranks on what to exchange.
  virtual DispatchPlan plan(const Routing& routing) const = 0;
  /// The rows for this rank's experts: a view of x_TD when they are all local.
  virtual ExpertRows dispatch(const Tensor& x_TD, const Routing& routing,
                              const DispatchPlan& plan) const = 0;
  /// y_t = sum over t's pairs, in order of choice, of weight * output row; (T, O). Dropped pairs
  /// add nothing.
  virtual Tensor combine(const Tensor& out_RO, const Routing& routing,
                         const DispatchPlan& plan) const = 0;
  /// combine(experts(dispatch(x_TD))): (T, O). Where rows travel, kinds may call `experts` several
  /// times, each with all rows of some of them, and let the next rows travel meanwhile.
  virtual Tensor through(const RunExperts& experts, const Tensor& x_TD, const Routing& routing,
                         const DispatchPlan& plan, const LayerContext& /*context*/) const {
    return combine(experts(dispatch(x_TD, routing, plan)), routing, plan);
  }
  /// What combine() adds up, for experts that do it themselves; nothing where output rows must
  /// travel first.
  virtual std::optional<ops::Combination> combination(const Routing& routing,
                                                      const DispatchPlan& plan) const {
    return std::nullopt;
  }
  /// The numbers of this rank's experts in the order in which plans have their rows; it may have
  /// none.
  virtual std::vector<int64_t> local_experts() const = 0;
};

using DispatcherRegistry = Registry<Dispatcher, DispatcherShape>;

/// The built-in kinds of dispatchers.def and those added at run time.
DispatcherRegistry& dispatchers();

}  // namespace moe::dispatch
