#pragma once
// What a report shows, as plain numbers and text: gathered in one place (gather.h), rendered in
// another (render.h). Text is as it was found, hostile bytes and all; rendering escapes it.

#include <memory>
#include <optional>

#include <moe/analyze/run_log.h>
#include <moe/analyze/specialisation.h>
#include <moe/analyze/statistics.h>
#include <moe/models/counts.h>

namespace moe::report {

/// One run of a report: the MoE model's, or its dense twin's.
struct RunFacts {
  std::string folder;
  /// The resolved configuration as it stands in config.toml; "" when there is none.
  std::string config;
  analyze::RunLog log;
  /// Unfilled; null when the configuration does not tell.
  std::shared_ptr<const models::Model> model;
  std::optional<models::ModelCounts> counts;
  std::vector<std::string> domains;
  int64_t planned_steps = 0;
  std::string dtype;
  int64_t seed = 0;
  /// Spent on the run when its newest checkpoint was written; NaN when none tells.
  double recorded_seconds = analyze::kNotLogged;

  /// " nats a token" for models of text, whose loss is that; "" for others.
  std::string loss_unit() const;
  /// What the log counts: "tokens", or "images".
  std::string unit() const;
  /// What else the objective reported beside the best loss, as text: "accuracy 0.983".
  std::string best_metrics() const;
  /// Layers that are MoE; 0 for a dense model.
  int64_t moe_layers() const;
  /// The evaluation with the smallest loss; none without validation data.
  std::optional<analyze::LossPoint> best() const;
  /// Seconds spent on the run by the newest checkpoint or line that says; NaN when none does.
  double seconds() const;
  /// Trained on by the last logged step.
  int64_t tokens() const { return log.steps.empty() ? 0 : log.steps.back().tokens; }
  /// Median of the logged rates; NaN when there is none.
  double tokens_per_second() const;
};

/// An expert that took a token, and the weight of its output.
struct TokenChoice {
  int64_t expert = 0;
  double weight = 0;
};

/// A row of held-out text; those of a domain follow each other.
struct Passage {
  std::string domain;
  /// Text of each token in whole characters: a character of several tokens stands with the first
  /// of them, the others are "". Bytes that are no UTF-8 are U+FFFD.
  std::vector<std::string> text_T;
  /// Per MoE layer and token, in the token's order of choice; empty for a token that no expert
  /// took.
  std::vector<std::vector<std::vector<TokenChoice>>> choices_LT;
};

/// A token that an expert takes more often than others do.
struct TypicalToken {
  std::string text;
  /// Of the expert's pairs.
  double share = 0;
  /// share over the token's share of all pairs.
  double lift = 0;
};

/// What the newest checkpoint does with held-out text.
struct RoutingStudy {
  int64_t step = 0;
  /// Tokens read.
  int64_t tokens = 0;
  /// Per MoE layer: load, counts by domain, and the test of independence.
  analyze::Specialisation specialisation;
  /// Per MoE layer: experts against tokens and positions, experts that go together.
  analyze::RoutingStatistics statistics;
  /// Per MoE layer and expert: the tokens that stand for it.
  std::vector<std::vector<std::vector<TypicalToken>>> typical_LE;
  std::vector<Passage> passages;
};

/// Best losses of one seed's pair of runs.
struct SeedPair {
  std::string name;
  double moe = 0, dense = 0;
  /// MoE - dense over the steps at which both were evaluated; NaN where there is none.
  double difference = analyze::kNotLogged;
};

/// Where the report was written.
struct Machine {
  std::string cpu;
  int64_t threads = 0;
  std::string version;
  std::string date;
};

struct ReportData {
  std::string title;
  RunFacts run;
  std::optional<RunFacts> twin;
  std::optional<RoutingStudy> study;
  /// More than one only after a comparison over several seeds; `run` and `twin` are the first's.
  std::vector<SeedPair> seeds;
  Machine machine;
  /// What is not in the report, and why.
  std::vector<std::string> notes;
};

}  // namespace moe::report
