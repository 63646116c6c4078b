#pragma once
// E experts, U rows.

#include <cstdint>
#include <string>
#include <vector>

#include <moe/data/corpus.h>
#include <moe/models/model.h>

namespace moe::analyze {

/// Which of a token's choices count.
enum class Choices {
  kAll,    // every pair once: what experts compute
  kFirst,  // the first pair alone: what the token wants most
};

struct CountOptions {
  int64_t batch = 32;
  /// Batches of each domain; -1: all of its validation data.
  int64_t max_batches = 20;
  Choices choices = Choices::kAll;
};

/// What one MoE layer did.
struct LayerCounts {
  int64_t layer = 0;
  int64_t experts = 0;
  /// (U, E) row-major: pairs of row u that went to expert e; dropped ones not counted.
  std::vector<int64_t> counts_UE = {};
};

/// Routing counts of rows of several domains.
struct RoutingCounts {
  std::vector<std::string> domains;
  /// Index into `domains` of each row.
  std::vector<int64_t> domain_U;
  /// Positions that counted, over all rows.
  int64_t tokens = 0;
  std::vector<LayerCounts> layers;

  int64_t rows() const { return static_cast<int64_t>(domain_U.size()); }
};

/// Runs `model` over the validation data of every domain that has any, in windows of the corpus'
/// sequence that do not overlap, as an evaluation does. Only positions with a target count, so
/// padding does not, nor do prompts of prompt-completion data. Nothing of the model's state
/// changes. Throws ConfigError when no domain has validation data, and moe::Error for a dense
/// model.
RoutingCounts count_routing(models::LanguageModel& model, const data::Corpus& corpus,
                            const CountOptions& options = {});

}  // namespace moe::analyze
