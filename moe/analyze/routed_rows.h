#pragma once
// What the MoE layers did with some rows of text, as plain numbers: what every count is made from,
// whether a model has just run or a trace was read. T tokens, U rows, N pairs, E experts.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <moe/data/corpus.h>
#include <moe/models/model.h>

namespace moe::analyze {

/// One MoE layer's routing of T tokens.
struct LayerPairs {
  int64_t layer = 0;
  int64_t experts = 0;
  /// (T+1,): the pairs of token t are offset_T[t] .. offset_T[t+1], in its order of choice.
  std::vector<int64_t> offset_T = {};
  /// (N,) in [0, E), or -1 for a pair that was dropped, whose weight is 0.
  std::vector<int32_t> expert_N = {};
  std::vector<float> weight_N = {};
  /// (T,) nats: entropy of the router's scores of all experts, divided by their sum. Empty for
  /// routers without scores; NaN where they add up to nothing.
  std::vector<float> score_entropy_T = {};
  /// The weight multiplies the expert's input instead of its output.
  bool weight_on_input = false;
  /// (T, E): empty unless asked for, and for routers without scores.
  std::vector<float> logits_TE = {};
};

/// Rows of one domain.
struct RoutedRows {
  /// Index among the domains looked at.
  int64_t domain = 0;
  /// Positions that a row can have.
  int64_t sequence = 0;
  /// (U+1,): row u holds the tokens row_begin[u] .. row_begin[u+1].
  std::vector<int64_t> row_begin_U = {0};
  std::vector<int32_t> token_T = {}, position_T = {};
  /// Whether a token has a target: others (prompts) are routed but not looked at.
  std::vector<uint8_t> counted_T = {};
  std::vector<LayerPairs> layers = {};

  int64_t rows() const { return static_cast<int64_t>(row_begin_U.size()) - 1; }
  int64_t tokens() const { return static_cast<int64_t>(token_T.size()); }
};

using TakeRows = std::function<void(const RoutedRows&)>;

/// Which rows of validation data to run.
struct RowOptions {
  int64_t batch = 32;
  /// Batches of each domain; -1: all of it.
  int64_t max_batches = 20;
  bool logits = false;

  /// Throws ConfigError for numbers out of range.
  void validate() const;
};

/// The domains that have validation data, in their order. Throws ConfigError when none has.
std::vector<std::string> validated_domains(const data::Corpus& corpus);

/// Runs `model` over the validation data of those domains, in windows of the corpus' sequence that
/// do not overlap, as an evaluation does, and hands on batch after batch. Nothing of the model's
/// state changes. Throws ConfigError for options out of range, and moe::Error for a dense model.
void route_rows(models::Model& model, const data::Corpus& corpus, const RowOptions& options,
                const TakeRows& take);

}  // namespace moe::analyze
