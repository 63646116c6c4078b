#pragma once
// What ranks that share experts sent each other, as it is counted. X ranks.

#include <map>
#include <vector>

#include <moe/parallel/row_format.h>
#include <moe/train/exchange.h>
#include <moe/train/step.h>

namespace moe::train {

/// Adds up what the steps of a run report.
class ExchangeCounts {
 public:
  /// `type`: of the numbers of rows; `format`: what they travel as; `predicted`: by layer.
  ExchangeCounts(const models::Model& model, at::ScalarType type, parallel::RowFormat format,
                 std::map<int64_t, cluster::PredictedRows> predicted);

  void begin(int64_t step) { summary_ = {step, step, {}}; }
  /// Step number `step` (its end) and what its layers did.
  void add(int64_t step, const std::vector<LayerLoad>& layers);
  const ExchangeSummary& summary() const { return summary_; }

 private:
  std::map<int64_t, int64_t> row_bytes_;
  std::map<int64_t, cluster::PredictedRows> predicted_;
  ExchangeSummary summary_;
};

}  // namespace moe::train
