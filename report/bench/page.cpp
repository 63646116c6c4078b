#include <algorithm>
#include <cmath>

#include <moe/base/error.h>
#include <moe/base/text.h>
#include <report/bench/page.h>
#include <report/html.h>
#include <report/page.h>
#include <report/sections.h>

namespace moe::report::bench {

namespace {

using report::escaped;
using report::fixed;

std::string milliseconds(double ms) {
  return fixed(ms, ms < 10 ? 2 : ms < 100 ? 1 : 0);
}

std::string cell(const std::string& text) {
  return "<td>" + text + "</td>";
}

std::string times(double a, double b) {
  return std::isfinite(a / b) ? fixed(a / b, 2) + " ×" : "–";
}

/// A <table> with a row a line; the first column is the row's heading.
std::string table(const std::vector<std::string>& columns, const std::string& rows) {
  std::string heads;
  for (const auto& column : columns) heads += "<th scope=\"col\">" + column + "</th>";
  return concat("<div class=\"scroll whole\"><table class=\"numbers glance\"><thead><tr>", heads,
                "</tr></thead><tbody>\n", rows, "</tbody></table></div>\n");
}

std::string shape_of(const BenchWork& w) {
  return concat(grouped(w.tokens), " × ", grouped(w.d_model), " × ", grouped(w.d_ff), ", ",
                grouped(w.experts), " / ", w.top_k);
}

/// Whether peers were timed at the work of any row of the group.
bool has_peers(const BenchResults& results, const std::string& group) {
  return std::ranges::any_of(results.rows, [&](const BenchRow& row) {
    return row.group == group && (results.best_peer(row.work) || results.best_peer(row.work, true));
  });
}

std::vector<std::string> columns_of(const BenchResults& results, const std::string& group) {
  std::vector<std::string> out = {"T × D × F, E / K", "mode",      "type",       "ms",
                                  "GFLOP/s",          "bound, ms", "over bound", "over dense"};
  if (has_peers(results, group))
    out.insert(out.end(), {"over torch's dense", "over best peer", "best peer, ms"});
  return out;
}

/// Work, then time, bound, dense block and, where some were timed, peers.
std::string row_of(const BenchResults& results, const BenchRow& row, const std::string& heading) {
  std::string out = concat("<tr><th scope=\"row\">", heading, "</th>", cell(escaped(row.work.mode)),
                           cell(escaped(row.work.dtype)));
  if (!row.skipped.empty())
    return out + concat("<td colspan=\"", columns_of(results, row.group).size() - 3,
                        "\">not run: ", escaped(row.skipped), "</td></tr>\n");
  out += concat(cell(milliseconds(row.ms)), cell(fixed(row.gflops, row.gflops < 10 ? 1 : 0)),
                cell(milliseconds(row.bound_ms)), cell(times(row.ms, row.bound_ms)),
                cell(times(row.ms, row.dense_ms)));
  if (has_peers(results, row.group)) {
    const PeerRow* dense = results.best_peer(row.work, true);
    const PeerRow* peer = results.best_peer(row.work);
    out += concat(cell(dense ? times(dense->ours_ms, dense->ms) : "–"),
                  cell(peer ? times(peer->ours_ms, peer->ms) : "–"),
                  cell(peer ? concat(milliseconds(peer->ms), ' ', escaped(peer->peer)) : "–"));
  }
  return out + "</tr>\n";
}

std::string tiles(const BenchHead& head) {
  const auto rate = [](double value, const char* unit) {
    return value > 0 ? concat(fixed(value, 0), " ", unit) : std::string("–");
  };
  return concat(
      "<dl class=\"tiles\">",
      report::tile("float32", rate(head.float32, "GFLOP/s"), "multiply-adds in registers"),
      report::tile("bfloat16", rate(head.bfloat16, "GFLOP/s"), "vdpbf16ps"),
      report::tile("int8", rate(head.int8, "GOP/s"), "vpdpbusd"),
      report::tile("Memory", rate(head.read, "GB/s"), "read in order"), "</dl>\n");
}

std::string summary(const BenchResults& results) {
  const auto& head = results.head;
  return concat(
      "<p class=\"eyebrow\">", escaped(head.date), " · moe.cpp ", escaped(head.version),
      "</p>\n<h1>Benchmarks</h1>\n<p class=\"lead\">", escaped(head.cpu), ", ",
      report::plural(head.threads, "thread"), ", kernels for ", escaped(head.instruction_set),
      ". What this machine can do at most was measured in the same run:</p>\n", tiles(head));
}

std::string table_section(const BenchResults& results) {
  std::string rows;
  int number = 0;
  for (const auto& row : results.rows)
    if (row.group == "table")
      rows += row_of(
          results, row,
          concat(row.skipped.empty() ? std::to_string(++number) + ". " : "", shape_of(row.work)));
  return report::section(
      "layers", "Layers",
      concat(report::figure(
                 "Roofline",
                 "GFLOP/s against FLOP per byte of weights that must move, both "
                 "logarithmic · filled: training, hollow: forward · lines: the limits of "
                 "this machine, the slope its memory · numbers: rows of the table",
                 roofline(results), "No row has a bound, so there is nothing to draw.", "wide"),
             rows.empty() ? "" : table(columns_of(results, "table"), rows),
             "<p class=\"note\">Bound: the arithmetic of experts and router at the peak of the "
             "type, or the weights of the experts in use through the memory (once forward, three "
             "times in training), whichever takes longer. Dense: our own block of K F hidden "
             "units, timed in turn. Peers: timed in turn with ours, so that ratio holds "
             "whatever else the machine did.</p>\n"));
}

std::string scaling_section(const BenchResults& results) {
  std::string rows;
  for (const auto& row : results.rows)
    if (row.group == "scaling") rows += row_of(results, row, shape_of(row.work));
  if (rows.empty()) return "";
  return report::section(
      "scaling", "Ever more experts",
      concat("<div class=\"small-multiples two\">",
             report::figure("Time over the dense block", "1: as fast as the block of equal work",
                            scaling(results, Scaling::kOverDense), "No row was run."),
             report::figure("Tokens a second", "of one layer, training",
                            scaling(results, Scaling::kTokensPerSecond), "No row was run."),
             "</div>\n", table(columns_of(results, "scaling"), rows)));
}

std::string skew_section(const BenchResults& results) {
  std::string rows;
  for (const auto& row : results.rows) {
    if (row.group != "skew") continue;
    const std::string spread = std::isfinite(row.busiest_share)
                                   ? ", busiest " + report::percent(row.busiest_share)
                                   : std::string();
    rows += row_of(results, row,
                   concat(shape_of(row.work), ", ", escaped(row.work.routing), escaped(spread)));
  }
  return rows.empty()
             ? ""
             : report::section("skew", "Crowded experts", table(columns_of(results, "skew"), rows));
}

std::string sets_section(const BenchResults& results) {
  std::string rows;
  const BenchRow* best = nullptr;
  for (const auto& row : results.rows) {
    if (row.group != "sets" || !row.skipped.empty()) continue;
    // Rows of one layer stand together; each is compared with the fastest of them.
    best = nullptr;
    for (const auto& other : results.rows)
      if (other.group == "sets" && other.skipped.empty() && other.work == row.work &&
          (!best || other.ms < best->ms))
        best = &other;
    rows +=
        concat("<tr><th scope=\"row\">", shape_of(row.work), "</th>", cell(escaped(row.work.mode)),
               cell(escaped(row.work.dtype)), cell(escaped(row.instruction_set)),
               cell(milliseconds(row.ms)), cell(fixed(row.gflops, 0)),
               cell(report::percent(best->ms / row.ms, 0)), "</tr>\n");
  }
  if (rows.empty()) return "";
  return report::section("sets", "Instruction sets",
                         table({"T × D × F, E / K", "mode", "type", "kernels", "ms", "GFLOP/s",
                                "speed of the fastest"},
                               rows));
}

}  // namespace

std::string render(const BenchResults& results) {
  const std::string grown = scaling_section(results), crowded = skew_section(results),
                    sets = sets_section(results);
  std::vector<std::pair<std::string, std::string>> sections = {{"layers", "Layers"}};
  if (!grown.empty()) sections.emplace_back("scaling", "Ever more experts");
  if (!crowded.empty()) sections.emplace_back("skew", "Crowded experts");
  if (!sets.empty()) sections.emplace_back("sets", "Instruction sets");
  return report::page("Benchmarks", sections,
                      concat(summary(results), table_section(results), grown, crowded, sets));
}

}  // namespace moe::report::bench
