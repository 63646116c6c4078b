// E experts.
#include <algorithm>
#include <cmath>
#include <map>

#include <nlohmann/json.hpp>

#include <moe/config/toml.h>
#include <moe/study/settings.h>
#include <moe/study/summary.h>
#include <moe/train/compare.h>

namespace moe::study {

namespace {

using Results = std::vector<RunResult>;

Figure figure_of(const std::vector<double>& values) {
  if (values.empty()) return {};
  const auto interval = train::confidence_interval(values);
  return {interval.mean, interval.half_width};
}

/// Mean of the finite ones; NaN without any.
double mean_of(const std::vector<double>& values) {
  double sum = 0, count = 0;
  for (const double value : values)
    if (std::isfinite(value)) sum += value, ++count;
  return count > 0 ? sum / count : analyze::kNotLogged;
}

template <class Value>
double mean_over(const Results& runs, const Value& value) {
  std::vector<double> values;
  for (const auto& run : runs) values.push_back(value(run));
  return mean_of(values);
}

double layer_mean(const Results& runs, double LayerFigures::*figure) {
  std::vector<double> values;
  for (const auto& run : runs)
    for (const auto& layer : run.layers) values.push_back(layer.*figure);
  return mean_of(values);
}

/// Busiest first, since which expert is which differs from seed to seed.
std::vector<std::vector<double>> mean_loads(const Results& runs) {
  std::vector<std::vector<double>> out;
  for (const auto& run : runs) {
    out.resize(std::max(out.size(), run.layers.size()));
    for (size_t l = 0; l < run.layers.size(); ++l) {
      auto load_E = run.layers[l].load_E;
      std::ranges::sort(load_E, std::greater());
      out[l].resize(std::max(out[l].size(), load_E.size()));
      for (size_t e = 0; e < load_E.size(); ++e)
        out[l][e] += load_E[e] / static_cast<double>(runs.size());
    }
  }
  return out;
}

std::vector<analyze::LossPoint> mean_losses(const Results& runs) {
  std::map<int64_t, std::vector<double>> by_step;
  for (const auto& run : runs)
    for (const auto& point : run.losses) by_step[point.step].push_back(point.loss);
  std::vector<analyze::LossPoint> out;
  for (const auto& [step, losses] : by_step) out.push_back({step, 0, mean_of(losses)});
  return out;
}

std::vector<Crowding> mean_crowding(const Results& runs) {
  std::map<int64_t, std::vector<double>> by_step;
  for (const auto& run : runs)
    for (const auto& point : run.crowding) by_step[point.step].push_back(point.max_over_mean);
  std::vector<Crowding> out;
  for (const auto& [step, values] : by_step) out.push_back({step, mean_of(values)});
  return out;
}

/// The loss after `seconds` of a run that trains `rate` tokens a second; NaN before its first
/// evaluation.
double loss_after(const RunResult& run, double seconds, double rate) {
  if (run.losses.empty() || run.steps == 0 || !(rate > 0)) return analyze::kNotLogged;
  const double tokens_per_step = static_cast<double>(run.tokens) / static_cast<double>(run.steps);
  auto points = run.losses;
  for (auto& point : points)
    point.seconds = static_cast<double>(point.step) * tokens_per_step / rate;
  return seconds < points.front().seconds ? analyze::kNotLogged : analyze::loss_at(points, seconds);
}

void fill_row(RowSummary& row, const Results& runs) {
  std::vector<double> losses;
  for (const auto& run : runs) losses.push_back(run.loss);
  row.loss = figure_of(losses);
  row.tokens_per_second = mean_over(runs, [](const auto& r) { return r.tokens_per_second; });
  row.seconds = mean_over(runs, [&](const auto& run) {
    return static_cast<double>(run.tokens) / row.tokens_per_second;
  });
  row.max_over_mean = layer_mean(runs, &LayerFigures::max_over_mean);
  row.entropy = layer_mean(runs, &LayerFigures::entropy);
  row.unused = layer_mean(runs, &LayerFigures::unused);
  row.dropped = layer_mean(runs, &LayerFigures::dropped);
  for (const auto& run : runs) {
    row.peak_bytes = std::max(row.peak_bytes, run.peak_bytes);
    if (!run.crowding.empty()) row.even_from.push_back(even_from(run.crowding));
    for (const auto& layer : run.layers)
      row.experts = std::max(row.experts, static_cast<int64_t>(layer.load_E.size()));
  }
  row.losses = mean_losses(runs);
  row.crowding = mean_crowding(runs);
  row.loads = mean_loads(runs);
}

/// Differences with the same seed.
Figure difference(const Results& ours, const Results& theirs) {
  std::vector<double> values;
  for (const auto& run : ours)
    for (const auto& other : theirs)
      if (run.seed == other.seed) values.push_back(run.loss - other.loss);
  return figure_of(values);
}

void compare_group(StudySummary& out, const std::string& group,
                   const std::map<std::string, Results>& results) {
  const Results* baseline = nullptr;
  double fastest = analyze::kNotLogged;
  for (const auto& row : out.rows) {
    if (row.group != group || row.seeds == 0) continue;
    if (row.baseline) baseline = &results.at(row.name);
    if (!row.reference) fastest = std::fmin(fastest, row.seconds);
  }
  for (auto& row : out.rows) {
    if (row.group != group || row.seeds == 0) continue;
    const Results& runs = results.at(row.name);
    if (baseline && !row.baseline) row.over_baseline = difference(runs, *baseline);
    std::vector<double> losses;
    for (const auto& run : runs) losses.push_back(loss_after(run, fastest, row.tokens_per_second));
    row.loss_at_equal_time = figure_of(losses);
  }
}

using SummaryJson = nlohmann::ordered_json;

SummaryJson finite(double value) {
  return std::isfinite(value) ? SummaryJson(value) : SummaryJson(nullptr);
}

SummaryJson json_of(const Figure& figure) {
  return {{"mean", finite(figure.mean)}, {"half_width_95", finite(figure.half_width)}};
}

SummaryJson json_of(const RowSummary& row) {
  SummaryJson losses = SummaryJson::array(), crowding = SummaryJson::array();
  for (const auto& point : row.losses) losses.push_back({point.step, finite(point.loss)});
  for (const auto& point : row.crowding)
    crowding.push_back({point.step, finite(point.max_over_mean)});
  return {{"name", row.name},
          {"kind", row.kind},
          {"group", row.group},
          {"note", row.note},
          {"reference", row.reference},
          {"baseline", row.baseline},
          {"seeds", row.seeds},
          {"failure", row.failure},
          {"loss", json_of(row.loss)},
          {"over_baseline", json_of(row.over_baseline)},
          {"loss_at_equal_time", json_of(row.loss_at_equal_time)},
          {"seconds", finite(row.seconds)},
          {"tokens_per_second", finite(row.tokens_per_second)},
          {"max_over_mean", finite(row.max_over_mean)},
          {"entropy", finite(row.entropy)},
          {"unused", finite(row.unused)},
          {"experts", row.experts},
          {"dropped", finite(row.dropped)},
          {"flops_per_token", row.flops},
          {"active_parameters", row.active},
          {"parameters", row.total},
          {"peak_bytes", row.peak_bytes},
          {"even_from", row.even_from},
          {"losses", std::move(losses)},
          {"crowding", std::move(crowding)},
          {"loads", row.loads}};
}

}  // namespace

std::vector<const RowSummary*> StudySummary::rows_of(const std::string& group) const {
  std::vector<const RowSummary*> out;
  for (const auto& row : rows)
    if (row.group == group) out.push_back(&row);
  return out;
}

int64_t even_from(const std::vector<Crowding>& crowding) {
  const auto last_uneven = std::find_if(crowding.rbegin(), crowding.rend(), [](const auto& point) {
    return !(point.max_over_mean <= kEven);
  });
  if (last_uneven == crowding.rbegin()) return -1;
  return last_uneven.base()->step;
}

StudySummary summarise(const Plan& plan, const Path& out_folder, const StudyAbout& about) {
  const Study& study = study_named(plan.name);
  StudySummary out{.name = study.name,
                   .title = study.title,
                   .help = study.help,
                   .groups = study.groups,
                   .about = about,
                   .seeds = plan.seeds};
  std::map<std::string, Results> results;
  for (const auto& variant : plan.variants) {
    if (!variant.left_out.empty()) {
      out.left_out.push_back({variant.name, variant.left_out});
      continue;
    }
    RowSummary row{.name = variant.name,
                   .kind = variant.kind,
                   .group = variant.group,
                   .note = variant.note,
                   .reference = variant.reference,
                   .baseline = variant.baseline};
    const Size size = size_of(variant.run);
    row.flops = size.flops;
    row.active = size.active;
    row.total = size.total;
    out.rows.push_back(std::move(row));
    const auto& train = variant.run.train;
    if (!out.config.empty() && !variant.baseline) continue;
    out.steps = train.steps;
    out.tokens_per_step = train.batch * train.accumulation * variant.run.data.sequence;
    out.threads = train.threads;
    out.dtype = train.dtype;
    out.config = config::write_toml(train::resolved(variant.run));
    out.domains.clear();
    for (const auto& domain : variant.run.data.domains) out.domains.push_back(domain.name);
  }
  for (const auto& run : plan.runs) {
    if (!has_result(out_folder / run.folder)) continue;
    RunResult result = read_result(out_folder / run.folder);
    auto& row = *std::ranges::find(out.rows, run.task.variant, &RowSummary::name);
    if (!result.failure.empty()) {
      row.failure = result.failure;
      continue;
    }
    ++row.seeds;
    results[row.name].push_back(std::move(result));
  }
  for (auto& row : out.rows)
    if (row.seeds > 0) fill_row(row, results.at(row.name));
  for (const auto& group : out.groups) compare_group(out, group.name, results);
  const auto place = [&](const RowSummary& row) {
    const auto found = std::ranges::find(out.groups, row.group, &Study::Group::name);
    return found - out.groups.begin();
  };
  std::ranges::stable_sort(out.rows, [&](const RowSummary& a, const RowSummary& b) {
    if (place(a) != place(b)) return place(a) < place(b);
    if (std::isfinite(a.loss.mean) != std::isfinite(b.loss.mean)) return std::isfinite(a.loss.mean);
    return a.loss.mean < b.loss.mean;
  });
  return out;
}

std::string write_summary(const StudySummary& summary) {
  SummaryJson rows = SummaryJson::array(), left_out = SummaryJson::array(),
              groups = SummaryJson::array();
  for (const auto& group : summary.groups)
    groups.push_back({{"name", group.name}, {"title", group.title}, {"text", group.text}});
  for (const auto& row : summary.rows) rows.push_back(json_of(row));
  for (const auto& [name, why] : summary.left_out)
    left_out.push_back({{"name", name}, {"why", why}});
  const SummaryJson out = {{"study", summary.name},
                           {"title", summary.title},
                           {"help", summary.help},
                           {"date", summary.about.date},
                           {"version", summary.about.version},
                           {"machine", summary.about.machine},
                           {"at_once", summary.about.at_once},
                           {"threads", summary.threads},
                           {"dtype", summary.dtype},
                           {"seeds", summary.seeds},
                           {"steps", summary.steps},
                           {"tokens_per_step", summary.tokens_per_step},
                           {"domains", summary.domains},
                           {"groups", std::move(groups)},
                           {"rows", std::move(rows)},
                           {"left_out", std::move(left_out)},
                           {"config", summary.config}};
  return out.dump(1, ' ', false, SummaryJson::error_handler_t::replace) + "\n";
}

}  // namespace moe::study
