#include <algorithm>
#include <cmath>

#include <moe/base/text.h>
#include <report/html.h>
#include <report/page.h>
#include <report/sections.h>
#include <report/study/page.h>

namespace moe::report::study {

namespace {

using moe::study::Figure;
using moe::study::RowSummary;
using moe::study::StudySummary;
using Rows = std::vector<const RowSummary*>;

std::string td(const std::string& content, const std::string& css = "") {
  return concat("<td", css.empty() ? "" : " class=\"" + css + "\"", '>', content, "</td>");
}

std::string with_interval(const Figure& figure, bool is_signed = false) {
  if (!std::isfinite(figure.mean)) return "–";
  const std::string mean = is_signed ? signed_number(figure.mean, 4) : fixed(figure.mean, 4);
  return std::isfinite(figure.half_width) ? concat(mean, " ± ", fixed(figure.half_width, 4)) : mean;
}

/// The name; what is there to compare with is set apart.
std::string row_head(const RowSummary& row) {
  return concat("<tr", row.reference ? " class=\"reference-row\"" : "", "><th scope=\"row\">",
                escaped(row.name), row.baseline ? " <span class=\"badge\">baseline</span>" : "",
                "<small>", escaped(row.note), "</small></th>");
}

std::string study_table(const std::vector<std::string>& columns, const std::string& rows) {
  std::string heads;
  for (const auto& column : columns) heads += "<th scope=\"col\">" + column + "</th>";
  return concat("<div class=\"scroll whole\"><table class=\"numbers glance study\"><thead><tr>",
                heads, "</tr></thead><tbody>\n", rows, "</tbody></table></div>\n");
}

/// The range that whiskers of a column are drawn on.
std::pair<double, double> range_of(const Rows& rows, Figure RowSummary::*column) {
  double low = INFINITY, high = -INFINITY;
  for (const auto* row : rows) {
    const Figure& figure = row->*column;
    if (!std::isfinite(figure.mean)) continue;
    const double half = std::isfinite(figure.half_width) ? figure.half_width : 0;
    low = std::min(low, figure.mean - half);
    high = std::max(high, figure.mean + half);
  }
  return {low, high};
}

std::string failed_row(const RowSummary& row, size_t columns) {
  return concat(row_head(row), "<td class=\"why\" colspan=\"", columns, "\">",
                row.failure.empty() ? "not trained yet" : "not trained: " + escaped(row.failure),
                "</td></tr>\n");
}

std::string steps_table(const Rows& rows) {
  const std::vector<std::string> columns = {"",
                                            "held-out loss",
                                            "",
                                            "over baseline, same seeds",
                                            "load, busiest first",
                                            "max / mean",
                                            "unused",
                                            "entropy",
                                            "dropped"};
  const auto [low, high] = range_of(rows, &RowSummary::loss);
  std::string out;
  for (const auto* row : rows) {
    if (row->seeds == 0) {
      out += failed_row(*row, columns.size() - 1);
      continue;
    }
    const bool routes = !row->loads.empty();
    const auto of_load = [&](const std::string& text) { return td(routes ? text : "–"); };
    out += concat(row_head(*row), td(with_interval(row->loss)), td(whiskers(row->loss, low, high)),
                  td(row->baseline ? "" : with_interval(row->over_baseline, true)),
                  td(load_bars(row->loads)), of_load(fixed(row->max_over_mean, 2)),
                  of_load(fixed(row->unused, 1)), of_load(fixed(row->entropy, 3)),
                  of_load(percent(row->dropped)), "</tr>\n");
  }
  return study_table(columns, out);
}

std::string time_table(Rows rows) {
  const std::vector<std::string> columns = {"",
                                            "held-out loss at equal time",
                                            "",
                                            "tokens a second",
                                            "all steps, s",
                                            "FLOPs a token",
                                            "active parameters",
                                            "parameters",
                                            "peak of tensors, MB"};
  std::erase_if(rows, [](const auto* row) { return row->seeds == 0; });
  std::ranges::stable_sort(rows, [](const auto* a, const auto* b) {
    const double left = a->loss_at_equal_time.mean, right = b->loss_at_equal_time.mean;
    return std::isfinite(left) && (!std::isfinite(right) || left < right);
  });
  const auto [low, high] = range_of(rows, &RowSummary::loss_at_equal_time);
  std::string out;
  for (const auto* row : rows)
    out += concat(
        row_head(*row), td(with_interval(row->loss_at_equal_time)),
        td(whiskers(row->loss_at_equal_time, low, high)),
        td(std::isfinite(row->tokens_per_second) ? grouped(std::llround(row->tokens_per_second))
                                                 : "–"),
        td(fixed(row->seconds, 1)), td(compact(static_cast<double>(row->flops))),
        td(compact(static_cast<double>(row->active))), td(compact(static_cast<double>(row->total))),
        td(row->peak_bytes > 0 ? fixed(static_cast<double>(row->peak_bytes) / 1e6, 0) : "–"),
        "</tr>\n");
  return study_table(columns, out);
}

/// "120, 140, never": a seed each.
std::string steps_text(const std::vector<int64_t>& steps) {
  std::vector<std::string> out;
  for (const int64_t step : steps) out.push_back(step < 0 ? "never" : std::to_string(step));
  return out.empty() ? "–" : join(out);
}

/// Soonest even first; those that never are, last.
std::string even_table(Rows rows) {
  std::erase_if(rows, [](const auto* row) { return row->even_from.empty(); });
  const auto place = [](const RowSummary* row) {
    double sum = 0, never = 0;
    for (const int64_t step : row->even_from) step < 0 ? ++never : sum += static_cast<double>(step);
    return std::pair(never, sum / static_cast<double>(row->even_from.size()));
  };
  std::ranges::stable_sort(rows, [&](const auto* a, const auto* b) { return place(a) < place(b); });
  std::string out;
  for (const auto* row : rows)
    out += concat(row_head(*row), td(steps_text(row->even_from)), td(fixed(row->max_over_mean, 2)),
                  td(with_interval(row->loss)), "</tr>\n");
  return study_table({"", "even from step, by seed", "max / mean in the end", "held-out loss"},
                     out);
}

std::string group_section(const StudySummary& summary, const moe::study::Study::Group& group) {
  const Rows rows = summary.rows_of(group.name);
  if (rows.empty()) return "";
  std::string id = "group-";
  for (const char c : group.name) id += c == ' ' ? '-' : c;
  std::string content = concat("<p>", escaped(group.text), "</p>\n");
  if (summary.name == "balance")
    content +=
        concat(figure("Busiest expert over the mean", "mean over seeds · dashed: what is even",
                      load_curves(summary, group.name), "No layer routes.", "wide"),
               "<h3>Steps until it is even</h3>\n", even_table(rows));
  content +=
      concat("<h3>At equal steps</h3>\n", steps_table(rows),
             figure("Held-out loss", "mean over seeds · the best eight in colours",
                    loss_curves(summary, group.name), "Nothing was evaluated twice.", "wide"),
             "<h3>At equal time</h3>\n", time_table(rows));
  return section(id, escaped(group.title), content);
}

std::string lead(const StudySummary& summary) {
  size_t compared = 0;
  for (const auto& row : summary.rows) compared += row.seeds > 0 && !row.reference;
  return concat(
      "<p class=\"eyebrow\">", escaped(summary.about.date), " · moe.cpp ",
      escaped(summary.about.version), " · ", escaped(summary.about.machine), "</p>\n<h1>",
      escaped(summary.title), "</h1>\n<p class=\"lead\">", escaped(summary.help), ".</p>\n",
      "<dl class=\"tiles\">", tile("Compared", std::to_string(compared), "beside references"),
      tile("Seeds", std::to_string(summary.seeds), "a row, the same for all"),
      tile("Steps", grouped(summary.steps),
           concat("of ", grouped(summary.tokens_per_step), " tokens, ", escaped(summary.dtype))),
      tile("At once", std::to_string(summary.about.at_once),
           concat(plural(summary.threads, "thread"), " each")),
      "</dl>\n");
}

std::string study_about(const StudySummary& summary) {
  std::string left_out;
  for (const auto& row : summary.left_out)
    left_out += concat("<li><b>", escaped(row.name), "</b>: ", escaped(row.why), "</li>\n");
  return section(
      "about", "How it was measured",
      concat(
          left_out.empty()
              ? ""
              : "<div class=\"missing\"><h3>Left out</h3><ul>" + left_out + "</ul></div>\n",
          "<p>Every row is the same model on the same text in the same order, but for what its "
          "name "
          "says. ± is the half width of the 95 % interval of Student's t over seeds; over "
          "baseline: "
          "the mean difference to the baseline's run with the same seed. Losses are in nats a "
          "token, on text that was not trained on.</p>\n",
          "<p>Max / mean, unused experts, entropy (1 is even) and drops (pairs a token) are means "
          "over layers and the last quarter of the logged steps. Parameters are counted, active "
          "ones are those that work for one token. Peak: most bytes of tensors of 64 KiB or more "
          "at once.</p>\n",
          "<p>Tokens a second are the median rate of a training without its evaluations, ",
          summary.threads == 1 ? "a second of processor time" : "by the clock", ", measured while ",
          summary.about.at_once > 1
              ? concat("up to ", summary.about.at_once - 1, " other such trainings ran beside it")
              : std::string("no other training of the study ran"),
          ", the mean over seeds. Equal time is the time that the fastest compared row needs for "
          "all steps at its rate; the others' losses are then read off their evaluations, between "
          "two of them on a line. Their learning rate is not at its end yet, which makes them look "
          "a little worse than if they had been planned for that time.</p>\n",
          "<p>Text: ", escaped(join(summary.domains)),
          ".</p>\n<details><summary>The baseline's configuration</summary><pre>",
          escaped(summary.config), "</pre></details>\n"));
}

}  // namespace

std::string render(const StudySummary& summary) {
  std::vector<std::pair<std::string, std::string>> sections;
  std::string content = lead(summary);
  for (const auto& group : summary.groups) {
    const std::string text = group_section(summary, group);
    if (text.empty()) continue;
    std::string id = "group-";
    for (const char c : group.name) id += c == ' ' ? '-' : c;
    sections.emplace_back(id, group.title);
    content += text;
  }
  sections.emplace_back("about", "How it was measured");
  return page(concat("Study: ", summary.title), sections, content + study_about(summary));
}

}  // namespace moe::report::study
