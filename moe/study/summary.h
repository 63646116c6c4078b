#pragma once
// What the runs of a study say together. No tensors.

#include <string>
#include <vector>

#include <moe/study/plan.h>

namespace moe::study {

/// Mean over seeds with the half width of its 95 % interval (Student's t; NaN for one seed).
struct Figure {
  double mean = analyze::kNotLogged, half_width = analyze::kNotLogged;
};

struct RowSummary {
  std::string name = {}, kind = {}, group = {}, note = {};
  bool reference = false, baseline = false;
  /// Seeds that have figures, and what the others said.
  int64_t seeds = 0;
  std::string failure = {};
  /// Held-out loss after all steps; the same less the baseline's with the same seed.
  Figure loss = {}, over_baseline = {};
  /// Held-out loss when the fastest row of the group that is compared had finished: each row's
  /// steps are timed by its own median rate, its loss is read off between evaluations. NaN where
  /// it had not been evaluated by then.
  Figure loss_at_equal_time = {};
  /// By the rate, of all tokens.
  double seconds = analyze::kNotLogged, tokens_per_second = analyze::kNotLogged;
  /// Means over seeds and layers of the last quarter's.
  double max_over_mean = analyze::kNotLogged, entropy = analyze::kNotLogged,
         unused = analyze::kNotLogged, dropped = analyze::kNotLogged;
  int64_t experts = 0;
  int64_t flops = 0, active = 0, total = 0, peak_bytes = 0;
  /// The step from which on every layer was even, a seed each; -1: not in the end.
  std::vector<int64_t> even_from = {};
  /// Means over seeds; the crowding by the logged step.
  std::vector<analyze::LossPoint> losses = {};
  std::vector<Crowding> crowding = {};
  /// Load of each layer's experts, busiest first, mean over seeds.
  std::vector<std::vector<double>> loads = {};
};

struct LeftOut {
  std::string name, why;
};

/// How the runs were done.
struct StudyAbout {
  std::string date, version, machine;
  int64_t at_once = 1;
};

struct StudySummary {
  std::string name, title, help;
  std::vector<Study::Group> groups = {};
  StudyAbout about = {};
  int64_t seeds = 0, steps = 0, tokens_per_step = 0, threads = 1;
  std::string dtype = {};
  std::vector<std::string> domains = {};
  /// In the order of loss within their group.
  std::vector<RowSummary> rows = {};
  std::vector<LeftOut> left_out = {};
  /// The model of the baseline, as TOML.
  std::string config = {};

  std::vector<const RowSummary*> rows_of(const std::string& group) const;
};

/// What is even: the busiest expert's load over the mean, at most.
inline constexpr double kEven = 2;

/// The step from which on `crowding` stays even; -1 where it is not in the end.
int64_t even_from(const std::vector<Crowding>& crowding);

/// Of those runs of `plan` that have results in `out`.
StudySummary summarise(const Plan& plan, const Path& out, const StudyAbout& about);

/// study.json: the summary with every run's figures. Times aside, a study that was stopped and gone
/// on with says the same.
std::string write_summary(const StudySummary& summary);

}  // namespace moe::study
