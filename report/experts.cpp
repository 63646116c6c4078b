// E experts.
#include <algorithm>
#include <cmath>

#include <moe/base/error.h>
#include <report/html.h>
#include <report/sections.h>

namespace moe::report {

namespace {

/// Layers whose lines are all named; of more only the one picked is.
constexpr size_t kNamedLayers = 6;
constexpr size_t kBarsOfLoad = 64;

/// The load of the last logged step as bars; 1 is the even share.
std::string load_bars(const std::vector<double>& load_E) {
  const size_t E = load_E.size();
  if (E == 0) return "";
  const size_t shown = std::min(E, kBarsOfLoad);
  std::string bars;
  for (size_t i = 0; i < shown; ++i) {
    // With many experts a bar is the largest of its neighbours: a busy one must not vanish.
    double load = 0;
    for (size_t e = i * E / shown; e < (i + 1) * E / shown; ++e) load = std::max(load, load_E[e]);
    const double height = 9 * std::min(2.6, load * static_cast<double>(E));
    bars += concat("M", coordinate(static_cast<double>(i) * 128 / static_cast<double>(shown)), ' ',
                   coordinate(24 - height), "h",
                   coordinate(std::max(0.8, 128 / static_cast<double>(shown) - 1)), "V24H",
                   coordinate(static_cast<double>(i) * 128 / static_cast<double>(shown)), 'z');
  }
  return concat("<svg class=\"spark\" viewBox=\"0 0 128 25\" aria-hidden=\"true\"><path d=\"", bars,
                "\"/><path class=\"reference\" d=\"M0 15H128\"/></svg>");
}

/// Experts without a token in every step of the last tenth of the log, at least 3 steps; not known
/// where one of these steps does not tell.
std::string unused_for_long(const analyze::RunLog& log, size_t index) {
  const size_t count = std::max<size_t>(3, log.steps.size() / 10);
  if (log.steps.size() < count) return "–";
  std::vector<bool> used;
  for (size_t i = log.steps.size() - count; i < log.steps.size(); ++i) {
    if (index >= log.steps[i].layers.size()) return "–";
    const auto& load_E = log.steps[i].layers[index].load_E;
    used.resize(std::max(used.size(), load_E.size()), false);
    for (size_t e = 0; e < load_E.size(); ++e) used[e] = used[e] || load_E[e] > 0;
  }
  return std::to_string(std::ranges::count(used, false));
}

/// Share of the expert's entropy, where it has any.
std::string settled(const analyze::Association& found) {
  return found.expert_entropy > 0 ? fixed(found.of_expert, 3) : "–";
}

std::string glance_row(const ReportData& data, const LayerView& view) {
  const auto number = [](double value, int digits) { return fixed(value, digits); };
  const auto* last = view.last;
  std::string out = concat(
      "<tr class=\"row-", view.index, "\"><th scope=\"row\"><label for=\"layer-", view.index, "\">",
      view.layer, "</label></th><td class=\"spark-cell\">",
      load_bars(last         ? last->load_E
                : view.study ? view.study->load_E
                             : std::vector<double>()),
      "</td><td>", last ? number(last->max_over_mean, 2) + "×" : "–", "</td><td>",
      last ? number(last->entropy, 3) : "–", "</td><td>", last ? short_number(last->dropped) : "–",
      "</td><td>", unused_for_long(data.run.log, view.index), "</td>");
  if (!data.study) return out + "</tr>\n";
  const auto* study = view.study;
  const bool tested = study && data.study->specialisation.domains.size() > 1;
  const auto& statistics = data.study->statistics.layers;
  const auto* more = view.index < statistics.size() ? &statistics[view.index] : nullptr;
  return out + concat("<td>", tested ? number(study->normalised, 3) : "–", "</td><td>",
                      tested ? concat(study->above ? "<b>" : "", fixed(study->p_value, 3),
                                      study->above ? "</b>" : "")
                             : "–",
                      "</td><td>", more ? settled(more->token) : "–", "</td><td>",
                      more ? settled(more->position) : "–", "</td><td>",
                      more ? number(more->weight_entropy.mean(), 3) : "–", "</td></tr>\n");
}

std::string glance(const ReportData& data, const std::vector<LayerView>& views) {
  std::string rows;
  for (const auto& view : views) rows += glance_row(data, view);
  const std::string studied =
      data.study
          ? "<th scope=\"col\" title=\"I(expert; domain) / H(domain)\">knows the domain</th>"
            "<th scope=\"col\" title=\"share of permutations that reach it\">p</th>"
            "<th scope=\"col\" title=\"I(expert; token) / H(expert)\">settled by token</th>"
            "<th scope=\"col\" title=\"I(expert; position) / H(expert)\">by position</th>"
            "<th scope=\"col\" title=\"nats, over a token's choices\">entropy of weights</th>"
          : "";
  return concat(
      "<div class=\"scroll\"><table class=\"numbers glance\"><caption>Each MoE layer at the last "
      "logged step",
      data.study ? concat(", and with held-out text at step ", data.study->step) : "",
      "; choose one for the panels below</caption><thead><tr><th scope=\"col\">layer</th>"
      "<th scope=\"col\">load by expert</th><th scope=\"col\">busiest</th>"
      "<th scope=\"col\">entropy of load</th><th scope=\"col\">dropped pairs</th>"
      "<th scope=\"col\">unused for long</th>",
      studied, "</tr></thead><tbody>\n", rows, "</tbody></table></div>\n");
}

/// A line a layer of one of the numbers that are logged for it.
std::string over_time(const ReportData& data, const std::vector<LayerView>& views,
                      const std::string& title, const std::string& remark,
                      double analyze::LoggedLayer::*member, std::optional<double> reference,
                      const std::string& if_zero) {
  Chart chart;
  chart.description = title + " of each MoE layer against steps.";
  chart.width = 520;
  chart.height = 190;
  chart.reference = reference;
  chart.settled = 0.03;
  chart.most_points = std::clamp<size_t>(4000 / std::max<size_t>(1, views.size()), 40, 300);
  bool is_zero = true, is_logged = false;
  for (const auto& view : views) {
    Line line{concat("layer ", view.layer),
              concat("layer ", view.layer),
              concat("layer-line row-", view.index, views.size() > kNamedLayers ? " many" : ""),
              {},
              false};
    for (const auto& step : data.run.log.steps) {
      if (view.index >= step.layers.size()) continue;
      const double value = step.layers[view.index].*member;
      line.points.push_back({static_cast<double>(step.step), value});
      is_zero = is_zero && value == 0;  // a number that is missing is none
      is_logged = true;
    }
    chart.lines.push_back(std::move(line));
  }
  const bool is_empty = is_logged && is_zero && !if_zero.empty();
  return figure(title, remark, is_empty ? "" : draw(chart),
                is_empty ? if_zero : "No step was logged.");
}

}  // namespace

std::string experts(const ReportData& data) {
  const auto views = layer_views(data);
  if (data.run.moe_layers() == 0)
    return section(
        "experts", "Experts",
        "<p class=\"empty\">The model is dense: every token takes the same way, so there "
        "is no routing to show.</p>\n");
  if (views.empty())
    return section("experts", "Experts",
                   "<p class=\"empty\">No step was logged and no checkpoint read, so nothing is "
                   "known of the experts yet.</p>\n");
  return section(
      "experts", "Experts",
      concat(glance(data, views), "<div class=\"small-multiples two\">",
             over_time(data, views, "Busiest expert", "load over the mean load; 1 is even",
                       &analyze::LoggedLayer::max_over_mean, 1.0, ""),
             over_time(data, views, "Entropy of the load", "over ln E; 1 is even",
                       &analyze::LoggedLayer::entropy, 1.0, ""),
             over_time(data, views, "Dropped pairs", "in a step", &analyze::LoggedLayer::dropped,
                       std::nullopt, "No expert turned a token away in any logged step."),
             over_time(data, views, "Unused experts", "in a step", &analyze::LoggedLayer::unused,
                       std::nullopt, "Every expert got a token in every logged step."),
             "</div>\n"));
}

}  // namespace moe::report
