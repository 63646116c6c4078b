#pragma once
// What ranks that share experts sent each other. X ranks.

#include <optional>
#include <string>
#include <vector>

#include <moe/base/files.h>
#include <moe/cluster/predicted_rows.h>

namespace moe::train {

/// Rows of one layer, one way of the forward pass, over some steps, all ranks and micro-batches. A
/// step sends them four times: to experts and back, and the same backward; six times where the
/// forward pass is computed again.
struct LayerExchange {
  int64_t layer = 0;
  /// Tokens, and rows to each of the X ranks, those that came from itself among them.
  double tokens = 0;
  std::vector<double> rows_X = {};
  /// Rows to another rank than their own, and of these to another machine.
  double between_ranks = 0, between_machines = 0;
  /// Bytes of a row.
  int64_t row_bytes = 0;
  /// Of the placement, where it says it.
  std::optional<cluster::PredictedRows> predicted = {};

  /// Rows on the busiest rank over the mean; 1 without rows.
  double busiest_rank() const;
  double a_token(double rows) const { return tokens > 0 ? rows / tokens : 0; }
};

/// The steps behind `first_step` up to `last_step`. Without layers where one rank holds all
/// experts.
struct ExchangeSummary {
  int64_t first_step = 0, last_step = 0;
  std::vector<LayerExchange> layers = {};
};

/// A table for people, a line a layer, measured beside predicted; "" without layers.
std::string exchange_table(const ExchangeSummary& summary);

/// {"steps": [first, last], "layers": [{"layer": I, "tokens": T, "rows_to_ranks": […],
/// "rows_between_ranks": N, "rows_between_machines": N, "row_bytes": B, "bytes_between_ranks": N,
/// "bytes_between_machines": N, "rows_a_token_between_ranks": x, "rows_a_token_between_machines":
/// x, "busiest_rank": x, "predicted": {…} or null}]}
std::string exchange_json(const ExchangeSummary& summary);

/// As exchange.json in `folder`; nothing without layers.
void write_exchange(const Path& folder, const ExchangeSummary& summary);

}  // namespace moe::train
