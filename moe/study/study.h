#pragma once

#include <functional>
#include <string>
#include <vector>

#include <moe/train/options.h>

namespace moe::study {

/// A row of a study: one way to train the same model.
struct Variant {
  std::string name = {};
  /// What `--kinds` names: the registered kind, or what else is compared.
  std::string kind = {};
  /// Rows are compared within a group alone ("causal", "bidirectional", …).
  std::string group = {};
  /// Whether it stands there to compare with, not to be compared.
  bool reference = false;
  /// The row of its group whose loss others are told from.
  bool baseline = false;
  /// How it was set, and why.
  std::string note = {};
  /// Why it is not trained; "" where it is.
  std::string left_out = {};
  /// Router biases of the first `favoured` experts start this much higher.
  double skew = 0;
  int64_t favoured = 0;
  /// With another seed for each run.
  train::RunOptions run = {};
};

struct Study {
  /// As `moe study NAME` has it; a heading; a line of help.
  std::string name, title, help;
  /// What each group of rows answers, and how it is measured: text of the page.
  struct Group {
    std::string name, title, text;
  };
  std::vector<Group> groups;
  /// How often runs log, at most: studies of the load look at every few steps.
  int64_t log_every = 10;
  /// Everything that is registered when it is called, trained as `base` is, in the order of rows.
  std::function<std::vector<Variant>(const train::RunOptions& base)> variants;
};

/// routers, balance, experts.
const std::vector<Study>& studies();
/// Throws ConfigError with the nearest name when there is no such.
const Study& study_named(const std::string& name);

// The rows of each, in files of their own.
std::vector<Variant> router_variants(const train::RunOptions& base);
std::vector<Variant> balance_variants(const train::RunOptions& base);
std::vector<Variant> expert_variants(const train::RunOptions& base);

/// What studies train unless told otherwise: a decoder of two layers with 8 experts each, 2 a
/// token, small enough for half a minute on one core.
train::RunOptions small_run(const std::vector<data::DomainOptions>& domains);

}  // namespace moe::study
