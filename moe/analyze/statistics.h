#pragma once
// What every MoE layer did over all rows: how sure tokens were, which tokens and places each expert
// takes, which experts go together. E experts, V vocabulary, P bins of positions, G experts of the
// next layer.

#include <memory>
#include <span>
#include <vector>

#include <moe/analyze/association.h>
#include <moe/analyze/counts.h>
#include <moe/analyze/moments.h>

namespace moe::analyze {

struct StatisticsOptions {
  /// Ids lie in [0, vocabulary).
  int64_t vocabulary = 0;
  /// Equal parts of the sequence, at least 1.
  int64_t position_bins = 16;
  /// Which pairs count for load, tokens and positions; experts that go together are always those of
  /// all choices.
  Choices choices = Choices::kAll;
  /// Cells of all sparse tables together, 16 bytes each.
  size_t most_cells = size_t{1} << 27;
};

/// One MoE layer over all rows.
struct LayerStatistics {
  int64_t layer = 0;
  int64_t experts = 0;
  /// Pairs that no expert computed.
  int64_t dropped = 0;
  /// Nats, one number a token that has experts: entropy of its weights over their sum; ln K when it
  /// trusts all K alike, 0 when one has all the weight.
  Moments weight_entropy = {};
  /// Nats, one a token: entropy of the router's scores of all E experts. No number for routers
  /// without scores.
  Moments score_entropy = {};
  /// (E,) pairs.
  std::vector<int64_t> load_E = {};
  /// Entropy of the load, in nats, and over ln E: 1 when even; NaN without pairs.
  double load_entropy = 0, load_evenness = 0;
  /// Pairs of each expert and token id, and each expert and part of the sequence.
  CountTable counts_EV = {}, counts_EP = {};
  Association token = {}, position = {};
  /// Tokens that chose each expert, and tokens that chose both: row < column.
  std::vector<int64_t> tokens_E = {};
  CountTable together_EE = {};
};

/// One MoE layer and the next.
struct LayerFlow {
  int64_t from = 0, to = 0;
  /// Pairs (expert chosen in `from`, expert chosen in `to`) of one token.
  CountTable counts_EG = {};
  /// `of_label`: how far the expert in `from` settles that in `to`.
  Association association = {};
};

struct RoutingStatistics {
  /// Tokens that counted.
  int64_t tokens = 0;
  int64_t position_bins = 0;
  std::vector<LayerStatistics> layers = {};
  std::vector<LayerFlow> flows = {};
};

/// Adds up RoutingStatistics over rows, in memory that does not grow with their number but for the
/// different pairs seen.
class StatisticsCollector {
 public:
  /// Throws ConfigError for a vocabulary or bins below 1.
  explicit StatisticsCollector(const StatisticsOptions& options);
  ~StatisticsCollector();

  /// Throws moe::Error for rows of another model, ids outside the vocabulary, and more different
  /// pairs than the options allow.
  void add(const RoutedRows& rows);
  RoutingStatistics finish() &&;

 private:
  struct Layer;
  void begin(const RoutedRows& rows);

  StatisticsOptions options_;
  int64_t tokens_ = 0;
  std::vector<std::unique_ptr<Layer>> layers_;
};

/// -sum p ln p of weights that are not negative over their sum, in nats; NaN when they add up to
/// nothing or one of them is not finite.
double weight_entropy(std::span<const float> weights);

}  // namespace moe::analyze
