#pragma once
// The sections of a page, each as HTML. A section with nothing to show says why, or is "".

#include <string>

#include <report/chart.h>
#include <report/data.h>

namespace moe::report {

/// Title, what was trained, what came out, and the key figures.
std::string summary(const ReportData& data);
/// Loss against steps, tokens and time.
std::string learning(const ReportData& data);
/// Validation loss by domain as a table; "" for fewer than two domains.
std::string domain_table(const ReportData& data);
/// Balance terms, gradient norm, learning rate, speed.
std::string optimisation(const ReportData& data);
/// All MoE layers at a glance and over time.
std::string experts(const ReportData& data);
/// One layer at a time, with a picker: load map, domains, text.
std::string layers(const ReportData& data);
/// Configuration, machine, what is missing, what the words mean.
std::string about(const ReportData& data);

// Parts that several sections use.

/// One MoE layer of the run: its number in the model, and what the log and the study know of it.
struct LayerView {
  size_t index = 0;  // among the MoE layers
  int64_t layer = 0;
  int64_t experts = 0;
  /// Of the last logged step; null when none was logged.
  const analyze::LoggedLayer* last = nullptr;
  const analyze::LayerSpecialisation* study = nullptr;
};
std::vector<LayerView> layer_views(const ReportData& data);
/// The layer shown first: the one whose experts divide the domains most, if any does.
size_t first_shown(const std::vector<LayerView>& views);

/// The loss of a logged step that validation losses compare with.
std::vector<Point> training_loss(const analyze::RunLog& log, Axis axis);
/// Where a logged step stands on an axis.
double place_of(const analyze::LoggedStep& step, Axis axis);

/// One key figure of a <dl class="tiles">.
std::string tile(const std::string& name, const std::string& value, const std::string& remark);
/// <figure> with a title, a remark and what is drawn; an empty drawing becomes `otherwise`.
std::string figure(const std::string& title, const std::string& remark, const std::string& drawing,
                   const std::string& otherwise, const std::string& css = "");
/// <section> with a heading.
std::string section(const std::string& id, const std::string& heading, const std::string& content);

/// Class of an expert's colour: 32 places, eight colours in four patterns. With more experts the
/// busiest ones of the layer have one, the others are plain.
std::vector<int> places_of_experts(const std::vector<double>& load_E);

/// Held-out text of one layer's colours, and the data for the other layers.
std::string text_panel(const ReportData& data, const std::vector<LayerView>& views, size_t shown);

}  // namespace moe::report
