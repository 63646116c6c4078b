// What several sections use.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <moe/base/error.h>
#include <report/html.h>
#include <report/sections.h>

namespace moe::report {

namespace {

constexpr size_t kColouredExperts = 32;

}  // namespace

std::vector<LayerView> layer_views(const ReportData& data) {
  std::vector<LayerView> out;
  const analyze::LoggedStep* last = nullptr;
  for (const auto& step : data.run.log.steps)
    if (!step.layers.empty()) last = &step;
  if (last)
    for (size_t i = 0; i < last->layers.size(); ++i) {
      const auto& layer = last->layers[i];
      out.push_back({i, layer.layer, static_cast<int64_t>(layer.load_E.size()), &layer, nullptr});
    }
  if (!data.study) return out;
  const auto& studied = data.study->specialisation.layers;
  out.resize(std::max(out.size(), studied.size()));
  for (size_t i = 0; i < studied.size(); ++i) {
    out[i].index = i;
    out[i].layer = studied[i].layer;
    out[i].experts = static_cast<int64_t>(studied[i].load_E.size());
    out[i].study = &studied[i];
  }
  return out;
}

size_t first_shown(const std::vector<LayerView>& views) {
  size_t best = 0;
  double most = 0;
  for (const auto& view : views)
    if (view.study && view.study->above && view.study->normalised > most) {
      most = view.study->normalised;
      best = view.index;
    }
  return best;
}

double place_of(const analyze::LoggedStep& step, Axis axis) {
  switch (axis) {
    case Axis::kSteps:
      return static_cast<double>(step.step);
    case Axis::kTokens:
      return static_cast<double>(step.tokens);
    case Axis::kTime:
      return step.seconds;
    case Axis::kExperts:
    case Axis::kIntensity:
      break;  // no axis of a run
  }
  return 0;
}

std::vector<Point> training_loss(const analyze::RunLog& log, Axis axis) {
  std::vector<Point> out;
  for (const auto& step : log.steps) out.push_back({place_of(step, axis), step.task_loss});
  return out;
}

std::string tile(const std::string& name, const std::string& value, const std::string& remark) {
  return concat("<div class=\"tile\"><dt>", name, "</dt><dd><b>", value, "</b><span>", remark,
                "</span></dd></div>\n");
}

std::string figure(const std::string& title, const std::string& remark, const std::string& drawing,
                   const std::string& otherwise, const std::string& css) {
  return concat("<figure", css.empty() ? "" : " class=\"" + css + "\"", "><figcaption><b>", title,
                "</b>", remark.empty() ? "" : " <span>" + remark + "</span>", "</figcaption>\n",
                drawing.empty() ? "<p class=\"empty\">" + otherwise + "</p>" : drawing,
                "</figure>\n");
}

std::string section(const std::string& id, const std::string& heading, const std::string& content) {
  return concat("<section id=\"", id, "\" aria-labelledby=\"", id, "-h\"><h2 id=\"", id, "-h\">",
                heading, "</h2>\n", content, "</section>\n");
}

std::vector<int> places_of_experts(const std::vector<double>& load_E) {
  std::vector<size_t> order(load_E.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (load_E.size() > kColouredExperts)
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return load_E[a] > load_E[b]; });
  std::vector<int> out(load_E.size(), -1);
  for (size_t i = 0; i < std::min(order.size(), kColouredExperts); ++i)
    out[order[i]] = static_cast<int>(i);
  return out;
}

}  // namespace moe::report
