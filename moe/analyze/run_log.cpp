#include <algorithm>
#include <cmath>

#include <moe/analyze/metrics_file.h>
#include <moe/analyze/run_log.h>

namespace moe::analyze {

namespace {

double value_of(const MetricsLine& line, std::string_view name) {
  return line.find(name).value_or(kNotLogged);
}

/// The values whose names begin with `prefix`, under what follows it.
std::vector<std::pair<std::string, double>> values_below(const MetricsLine& line,
                                                         std::string_view prefix) {
  std::vector<std::pair<std::string, double>> out;
  for (const auto& [name, value] : line.values)
    if (name.starts_with(prefix)) out.emplace_back(name.substr(prefix.size()), value);
  return out;
}

LoggedEvaluation evaluation_of(const MetricsLine& line) {
  LoggedEvaluation out;
  out.step = line.step;
  out.seconds = value_of(line, "seconds");
  out.loss = value_of(line, "eval.loss");
  for (const auto& [name, value] : values_below(line, "eval."))
    if (name != "loss" && name.find('.') == std::string::npos)
      out.metrics.emplace_back(name, value);
  out.domains = values_below(line, "eval.domains.");
  return out;
}

LoggedLayer layer_of(const MetricsLine& line, int64_t layer, std::vector<double> load_E) {
  const auto named = [&](const char* what) {
    return value_of(line, concat("layers.", layer, '.', what));
  };
  return {
      layer,          std::move(load_E), named("max_over_mean"), named("entropy"), named("dropped"),
      named("unused")};
}

LoggedStep step_of(const MetricsLine& line) {
  LoggedStep out;
  out.step = line.step;
  out.tokens = static_cast<int64_t>(line.find("tokens").value_or(0));
  out.seconds = value_of(line, "seconds");
  out.loss = value_of(line, "loss");
  out.task_loss = value_of(line, "lm_loss");
  out.grad_norm = value_of(line, "grad_norm");
  out.lr = value_of(line, "lr");
  out.tokens_per_second = value_of(line, "tokens_per_second");
  out.balance = values_below(line, "balance.");
  for (const auto& [layer, load_E] : line.loads)
    out.layers.push_back(layer_of(line, layer, load_E));
  return out;
}

/// Appends unless the step does not rise.
template <class Line>
bool append(std::vector<Line>& lines, Line line) {
  if (!lines.empty() && line.step <= lines.back().step) return false;
  lines.push_back(std::move(line));
  return true;
}

bool append_line(RunLog& log, const MetricsLine& line) {
  if (!line.is_evaluation) return append(log.steps, step_of(line));
  return line.find("eval.loss") && append(log.evaluations, evaluation_of(line));
}

}  // namespace

int64_t RunLog::last_step() const {
  return std::max(steps.empty() ? 0 : steps.back().step,
                  evaluations.empty() ? 0 : evaluations.back().step);
}

std::vector<LossPoint> RunLog::loss_points() const {
  std::vector<LossPoint> points;
  for (const auto& evaluation : evaluations)
    if (std::isfinite(evaluation.loss))
      points.push_back({evaluation.step, evaluation.seconds, evaluation.loss});
  return points;
}

double loss_at(const std::vector<LossPoint>& points, double seconds) {
  for (size_t i = 1; i < points.size(); ++i) {
    const auto &a = points[i - 1], &b = points[i];
    if (seconds > b.seconds) continue;
    const double share = (seconds - a.seconds) / std::max(1e-9, b.seconds - a.seconds);
    return a.loss + std::max(0.0, share) * (b.loss - a.loss);
  }
  return points.back().loss;
}

RunLog read_run_log(const Path& metrics) {
  RunLog log;
  int64_t repeated = 0;
  const int64_t damaged = read_metrics(
      metrics,
      [&](const MetricsLine& line, std::string_view) {
        repeated += append_line(log, line) ? 0 : 1;
      },
      DamagedLines::kSkip);
  log.skipped = damaged + repeated;
  return log;
}

}  // namespace moe::analyze
