#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <moe/base/error.h>
#include <moe/base/text.h>
#include <report/html.h>
#include <report/sections.h>

namespace moe::report {

namespace {

constexpr Axis kAxes[] = {Axis::kSteps, Axis::kTokens, Axis::kTime};

/// A run with the name and colour it has in charts.
struct Shown {
  const RunFacts& run;
  std::string name, css;
};

std::vector<Shown> shown_runs(const ReportData& data) {
  std::vector<Shown> out = {{data.run, data.run.moe_layers() > 0 ? "MoE" : "dense", "moe"}};
  if (data.twin) out.push_back({*data.twin, "dense twin", "dense"});
  return out;
}

/// Tokens trained on by the end of `step`: as logged for it, or in proportion to the nearest line.
double tokens_at(const analyze::RunLog& log, int64_t step) {
  const auto found = std::ranges::lower_bound(log.steps, step, {}, &analyze::LoggedStep::step);
  const analyze::LoggedStep* line = found != log.steps.end() ? &*found
                                    : log.steps.empty()      ? nullptr
                                                             : &log.steps.back();
  if (!line || line->step == 0) return analyze::kNotLogged;
  return static_cast<double>(line->tokens) * static_cast<double>(step) /
         static_cast<double>(line->step);
}

std::vector<Point> validation_loss(const analyze::RunLog& log, Axis axis) {
  std::vector<Point> out;
  for (const auto& point : log.loss_points())
    out.push_back({axis == Axis::kSteps    ? static_cast<double>(point.step)
                   : axis == Axis::kTokens ? tokens_at(log, point.step)
                                           : point.seconds,
                   point.loss});
  return out;
}

std::string describe_loss(const ReportData& data, Axis axis) {
  std::string out = concat("Loss against ", axis_name(axis), ".");
  for (const auto& [run, name, css] : shown_runs(data)) {
    const auto points = run.log.loss_points();
    if (points.empty()) continue;
    out += concat(" Validation loss of ", name, " goes from ", fixed(points.front().loss, 3),
                  " at step ", points.front().step, " to ", fixed(points.back().loss, 3),
                  " at step ", points.back().step, '.');
  }
  return out;
}

std::string loss_chart(const ReportData& data, Axis axis) {
  Chart chart;
  chart.axis = axis;
  if (axis == Axis::kTokens) chart.axis_label = data.run.unit();
  chart.width = 960;
  chart.height = 360;
  chart.right = 146;
  chart.settled = 0.06;
  chart.description = describe_loss(data, axis);
  for (const auto& [run, name, css] : shown_runs(data)) {
    const auto valid = validation_loss(run.log, axis);
    const bool is_evaluated = !thinned(valid, 4).empty();
    chart.lines.push_back({name + ", training", is_evaluated ? "" : name, css + " train",
                           training_loss(run.log, axis), false});
    if (!is_evaluated) continue;
    chart.lines.push_back({name + ", validation", concat(name, ' ', fixed(valid.back().y, 3)),
                           css + " valid", valid, true});
  }
  return draw(chart);
}

std::string loss_figure(const ReportData& data) {
  std::string radios, charts;
  for (const Axis axis : kAxes) {
    const std::string name = axis_name(axis), drawing = loss_chart(data, axis);
    if (drawing.empty()) continue;
    radios += concat("<label><input type=\"radio\" name=\"axis\" id=\"axis-", name, "\" value=\"",
                     name, '"', radios.empty() ? " checked" : "", "><span>",
                     axis == Axis::kSteps    ? "steps"
                     : axis == Axis::kTokens ? data.run.unit()
                                             : "wall time",
                     "</span></label>");
    charts += concat("<div class=\"of-axis axis-", name, "\">", drawing, "</div>\n");
  }
  if (charts.empty())
    return figure("Loss", "", "", "No step was logged, so there is no loss to draw.");
  return figure("Loss",
                concat(data.run.loss_unit().empty() ? "" : "nats a token · ",
                       "points and strong lines: validation · thin lines: training, whose "
                       "beginning may be cut off"),
                concat("<fieldset class=\"picker\" role=\"radiogroup\"><legend>against</legend>",
                       radios, "</fieldset>\n", charts),
                "", "wide");
}

std::string evaluation_table(const ReportData& data) {
  std::map<int64_t, std::pair<double, double>> losses;
  for (const auto& point : data.run.log.loss_points())
    losses[point.step] = {point.loss, analyze::kNotLogged};
  if (data.twin)
    for (const auto& point : data.twin->log.loss_points())
      losses.try_emplace(point.step, analyze::kNotLogged, analyze::kNotLogged)
          .first->second.second = point.loss;
  if (losses.empty()) return "";
  const size_t every = (losses.size() + 59) / 60;
  std::string rows;
  size_t i = 0;
  for (const auto& [step, pair] : losses) {
    if (i++ % every != 0 && i != losses.size()) continue;
    rows +=
        concat("<tr><th scope=\"row\">", grouped(step), "</th><td>", fixed(pair.first, 4), "</td>");
    if (data.twin)
      rows += concat("<td>", fixed(pair.second, 4), "</td><td>",
                     signed_number(pair.first - pair.second, 4), "</td>");
    rows += "</tr>\n";
  }
  return concat(
      "<details><summary>Validation losses as numbers</summary><div class=\"scroll\">"
      "<table class=\"numbers\"><thead><tr><th scope=\"col\">step</th><th scope=\"col\">",
      shown_runs(data).front().name, "</th>",
      data.twin ? "<th scope=\"col\">dense twin</th><th scope=\"col\">difference</th>" : "",
      "</tr></thead><tbody>\n", rows, "</tbody></table></div></details>\n");
}

/// Loss of a domain in the evaluation with the best loss of all.
double domain_loss(const RunFacts& run, const std::string& domain) {
  const auto best = run.best();
  if (!best) return analyze::kNotLogged;
  for (const auto& evaluation : run.log.evaluations)
    if (evaluation.step == best->step)
      for (const auto& [name, loss] : evaluation.domains)
        if (name == domain) return loss;
  return analyze::kNotLogged;
}

/// One small chart of a number that every logged step has, for each run.
template <class Value>
std::string course(const ReportData& data, const std::string& plain, const std::string& title,
                   const std::string& remark, const Value& value) {
  Chart chart;
  chart.description = plain + " against steps.";
  chart.settled = 0.03;
  const auto runs = shown_runs(data);
  for (const auto& [run, name, css] : runs) {
    Line line{name, runs.size() > 1 ? (css == "moe" ? "MoE" : "dense") : "", css, {}, false};
    for (const auto& step : run.log.steps)
      line.points.push_back({static_cast<double>(step.step), value(step)});
    chart.lines.push_back(std::move(line));
  }
  if (runs.size() == 1) chart.right = 46;
  const std::string drawing = draw(chart);
  return drawing.empty() ? "" : figure(title, remark, drawing, "");
}

double term_of(const analyze::LoggedStep& step, const std::string& name) {
  for (const auto& [term, value] : step.balance)
    if (term == name) return value;
  return analyze::kNotLogged;
}

}  // namespace

std::string domain_table(const ReportData& data) {
  std::vector<std::string> names;
  for (const auto& evaluation : data.run.log.evaluations)
    for (const auto& [name, loss] : evaluation.domains)
      if (std::ranges::find(names, name) == names.end() && names.size() < 100)
        names.push_back(name);
  if (names.size() < 2) return "";  // one domain is all there is
  double most = 1e-9;
  for (const auto& name : names) {
    most = std::max(most, domain_loss(data.run, name));
    if (data.twin) most = std::max(most, domain_loss(*data.twin, name));
  }
  const auto bar = [&](double loss, const char* css) {
    return std::isfinite(loss)
               ? concat("<i class=\"bar ", css, "\" style=\"--w:", fixed(loss / most, 3), "\"></i>")
               : std::string();
  };
  std::string rows;
  for (const auto& name : names) {
    const double ours = domain_loss(data.run, name);
    rows += concat("<tr><th scope=\"row\">", escaped(name), "</th>");
    if (!data.twin) {
      rows += concat("<td>", fixed(ours, 4), "</td><td class=\"bars\">", bar(ours, "moe"),
                     "</td></tr>\n");
      continue;
    }
    const double theirs = domain_loss(*data.twin, name);
    rows += concat("<td>", fixed(ours, 4), "</td><td>", fixed(theirs, 4), "</td><td>",
                   signed_number(ours - theirs, 4), "</td><td class=\"bars\">", bar(ours, "moe"),
                   bar(theirs, "dense"), "</td></tr>\n");
  }
  return concat(
      "<table class=\"numbers domains\"><caption>Validation loss by domain, at each "
      "model's best evaluation</caption><thead><tr><th scope=\"col\">domain</th>"
      "<th scope=\"col\"><i class=\"key moe\"></i>",
      shown_runs(data).front().name, "</th>",
      data.twin ? "<th scope=\"col\"><i class=\"key dense\"></i>dense twin</th>"
                  "<th scope=\"col\">difference</th>"
                : "",
      "<th scope=\"col\"><span class=\"hidden\">as bars</span></th></tr></thead><tbody>\n", rows,
      "</tbody></table>\n");
}

std::string learning(const ReportData& data) {
  return section("learning", "Learning", concat(loss_figure(data), evaluation_table(data)));
}

std::string optimisation(const ReportData& data) {
  std::set<std::string> terms;
  for (const auto& step : data.run.log.steps)
    for (const auto& [name, value] : step.balance)
      if (terms.size() < 12) terms.insert(name);
  std::string charts;
  for (const auto& name : terms)
    charts += course(data, "Balance term " + name,
                     concat("Balance term <code>", escaped(name), "</code>"),
                     name == "switch" ? "1 is even load" : "before its coefficient",
                     [&](const analyze::LoggedStep& step) { return term_of(step, name); });
  charts += course(data, "Gradient norm", "Gradient norm", "before clipping",
                   [](const analyze::LoggedStep& step) { return step.grad_norm; });
  charts += course(data, "Learning rate", "Learning rate", "",
                   [](const analyze::LoggedStep& step) { return step.lr; });
  charts += course(data, "Tokens a second", "Speed", data.run.unit() + " a second",
                   [](const analyze::LoggedStep& step) { return step.tokens_per_second; });
  if (charts.empty()) return "";
  return section("optimisation", "Optimisation",
                 concat("<div class=\"small-multiples\">", charts, "</div>\n"));
}

}  // namespace moe::report
