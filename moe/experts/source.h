#pragma once
// L experts on this rank, D in, F hidden, H = F or 2F, O out.

#include <utility>

#include <moe/flow/plan.h>
#include <moe/ops/expert_table.h>

namespace moe::experts {

/// The weights of feed-forward experts: w_in L times (H, D), w_out L times (O, F).
struct ExpertTables {
  ops::ExpertTable w_in, w_out;
};

/// Where the weights of experts come from: parameters in memory, a mapped file, a cache that holds
/// some of them at a time.
class ExpertSource {
 public:
  virtual ~ExpertSource() = default;

  /// The tables for a pass over `rows`: of all L experts, of which those that have rows must be
  /// there. They stay where they are for as long as anyone holds the tables, as a graph does until
  /// its backward pass.
  virtual ExpertTables tables(const ExpertRows& rows) = 0;
};

/// Parameters in memory, one stack for each weight, which may learn.
class ResidentStacks final : public ExpertSource {
 public:
  ResidentStacks(ops::Tensor w_in, ops::Tensor w_out)
      : tables_{std::move(w_in), std::move(w_out)} {}

  ExpertTables tables(const ExpertRows& /*rows*/) override { return tables_; }

 private:
  ExpertTables tables_;
};

}  // namespace moe::experts
