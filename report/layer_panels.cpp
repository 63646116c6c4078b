// D domains, E experts, P parts of the sequence.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <moe/analyze/coactivation.h>
#include <moe/base/error.h>
#include <moe/base/utf8.h>
#include <report/heat_map.h>
#include <report/html.h>
#include <report/sections.h>

namespace moe::report {

namespace {

constexpr size_t kExpertsInTables = 48;
constexpr int64_t kExpertsInMatrix = 24;
constexpr int64_t kPairsListed = 16;
/// Rows of one kind of table over all layers: with more, each shows fewer experts.
constexpr size_t kRowsOfTables = 400;

std::string heat_cell(double ratio, const std::string& text, const std::string& title = "") {
  const int level = heat_level(ratio);
  return concat("<td", level >= 0 ? concat(" class=\"h h", level, '"') : "",
                title.empty() ? "" : concat(" title=\"", title, '"'), '>', text, "</td>");
}

std::string chip(size_t expert, int place) {
  return concat("<i class=\"x x", place < 0 ? "-rest" : std::to_string(place), "\"></i>", expert);
}

/// Row and column sums of counts_DE and what is expected without preference.
struct DomainTable {
  std::vector<double> all_D;
  double all = 0;

  explicit DomainTable(const analyze::LayerSpecialisation& layer) {
    for (const auto& counts_E : layer.counts_DE) {
      all_D.push_back(
          static_cast<double>(std::accumulate(counts_E.begin(), counts_E.end(), int64_t{0})));
      all += all_D.back();
    }
  }
};

/// Experts to show: all, or those that tell most of the domain, in their order.
std::vector<size_t> experts_to_show(const analyze::LayerSpecialisation& layer, size_t most) {
  const size_t E = layer.load_E.size();
  std::vector<size_t> out(E);
  std::iota(out.begin(), out.end(), size_t{0});
  if (E <= most) return out;
  const DomainTable table(layer);
  std::vector<double> told_E(E, 0);
  for (size_t d = 0; d < layer.counts_DE.size(); ++d)
    for (size_t e = 0; e < E; ++e) {
      const auto n = static_cast<double>(layer.counts_DE[d][e]);
      const double expected = layer.load_E[e] * table.all_D[d];
      if (n > 0 && expected > 0) told_E[e] += n * std::log(n / expected);
    }
  std::ranges::stable_sort(out, [&](size_t a, size_t b) { return told_E[a] > told_E[b]; });
  out.resize(most);
  std::ranges::sort(out);
  return out;
}

std::string verdict(const analyze::LayerSpecialisation& layer, const analyze::Specialisation& all) {
  return concat(
      "<p class=\"verdict\">Knowing the expert removes <b>", percent(layer.normalised, 1),
      "</b> of the uncertainty about the domain (mutual information ",
      fixed(layer.mutual_information, 4), " nats, normalised ", fixed(layer.normalised, 4),
      "). With the domains of the ", plural(all.rows, "row"), " dealt at random, ",
      std::isnan(layer.percentile_99)
          ? concat(plural(all.permutations, "permutation"),
                   " cannot tell that from chance, which takes ", analyze::kFewestPermutations)
          : concat("99 % of ", plural(all.permutations, "permutation"), " stay within ",
                   fixed(layer.percentile_99, 4), ": <b>",
                   layer.above ? "more than chance" : "no more than chance", "</b>"),
      ", p = ", fixed(layer.p_value, 3), ".</p>\n");
}

/// That a table shows the first `shown` of `all` experts; "" when it shows all.
std::string first_of_experts(size_t shown, size_t all) {
  return shown < all ? concat("<p class=\"note\">The first ", shown, " of ", all, " experts.</p>")
                     : "";
}

/// Share of the expert's entropy that something settles; "–" where there is none.
std::string settled_share(const analyze::Association& found) {
  return found.expert_entropy > 0 ? percent(found.of_expert, 1) : "–";
}

std::string domain_panel(const ReportData& data, const LayerView& view, size_t most) {
  if (!view.study) return "";
  const auto& layer = *view.study;
  const auto& all = data.study->specialisation;
  if (all.domains.size() < 2)
    return figure("Expert × domain", "", "",
                  "There is one domain with validation data, so there is nothing to tell apart.");
  const DomainTable table(layer);
  const auto places = places_of_experts(layer.load_E);
  const auto shown = experts_to_show(layer, most);
  std::string head, rows;
  for (const auto& name : all.domains) head += concat("<th scope=\"col\">", escaped(name), "</th>");
  for (const size_t e : shown) {
    rows += concat("<tr><th scope=\"row\">", chip(e, places[e]), "</th><td>",
                   percent(layer.load_E[e]), "</td>");
    for (size_t d = 0; d < all.domains.size(); ++d) {
      const auto n = static_cast<double>(layer.counts_DE[d][e]);
      const double share = table.all_D[d] > 0 ? n / table.all_D[d] : analyze::kNotLogged;
      rows += heat_cell(share / layer.load_E[e], percent(share));
    }
    rows += "</tr>\n";
  }
  return figure(
      "Expert × domain",
      "share of a domain's choices that each expert takes; colour: over its load",
      concat("<div class=\"scroll\"><table class=\"numbers cells\"><thead><tr>"
             "<th scope=\"col\">expert</th><th scope=\"col\">load</th>",
             head, "</tr></thead><tbody>\n", rows, "</tbody></table></div>",
             shown.size() < layer.load_E.size()
                 ? concat("<p class=\"note\">The ", shown.size(), " of ", layer.load_E.size(),
                          " experts that tell most about the domain.</p>")
                 : "",
             verdict(layer, all)),
      "");
}

std::string pair_matrix(const std::vector<analyze::ExpertPair>& pairs,
                        const std::vector<int>& places) {
  const size_t E = places.size();
  std::vector<const analyze::ExpertPair*> cell(E * E, nullptr);
  for (const auto& pair : pairs)
    cell[static_cast<size_t>(pair.first) * E + static_cast<size_t>(pair.second)] = &pair;
  std::string out =
      "<div class=\"scroll\"><table class=\"numbers cells matrix\"><thead><tr><td></td>";
  for (size_t e = 0; e < E; ++e) out += concat("<th scope=\"col\">", e, "</th>");
  out += "</tr></thead><tbody>\n";
  for (size_t a = 0; a < E; ++a) {
    out += concat("<tr><th scope=\"row\">", chip(a, places[a]), "</th>");
    for (size_t b = 0; b < E; ++b) {
      const analyze::ExpertPair* pair = cell[std::min(a, b) * E + std::max(a, b)];
      if (a == b)
        out += "<td class=\"self\"></td>";
      else if (pair)
        out += heat_cell(pair->lift, fixed(pair->lift, 2));
      else
        out += heat_cell(0, "0");
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string pair_list(const std::vector<analyze::ExpertPair>& pairs,
                      const std::vector<int>& places) {
  std::string rows;
  for (const auto& pair : analyze::strongest(pairs, kPairsListed)) {
    const auto first = static_cast<size_t>(pair.first), second = static_cast<size_t>(pair.second);
    rows += concat("<tr><th scope=\"row\">", chip(first, places[first]), " and ",
                   chip(second, places[second]), "</th><td>",
                   compact(static_cast<double>(pair.together)), "</td><td>", compact(pair.expected),
                   "</td>", heat_cell(pair.lift, fixed(pair.lift, 2) + "×"), "</tr>\n");
  }
  if (rows.empty()) return "";
  return concat(
      "<div class=\"scroll\"><table class=\"numbers cells\"><thead><tr>"
      "<th scope=\"col\">experts</th><th scope=\"col\">together</th>"
      "<th scope=\"col\">expected</th><th scope=\"col\">lift</th></tr></thead><tbody>\n",
      rows, "</tbody></table></div>\n");
}

std::string pairs_panel(const analyze::LayerStatistics& layer) {
  const auto pairs = analyze::pairs_together(layer.together_EE, layer.tokens_E);
  std::vector<double> load_E;
  for (const int64_t n : layer.load_E) load_E.push_back(static_cast<double>(n));
  const auto places = places_of_experts(load_E);
  const bool is_small = layer.experts <= kExpertsInMatrix;
  return figure("Experts chosen together",
                is_small ? "by one token, over what independent choices of the same load give"
                         : "the pairs that stand out most, against independent choices",
                pairs.empty() ? ""
                : is_small    ? pair_matrix(pairs, places)
                              : pair_list(pairs, places),
                "No token chose two experts.");
}

/// Share of each part of the sequence that an expert takes, over its load.
std::string position_panel(const analyze::LayerStatistics& layer, size_t most) {
  const analyze::CountTable& counts = layer.counts_EP;
  const auto load_E = counts.row_sums(), all_P = counts.column_sums();
  const auto all = static_cast<double>(counts.total());
  if (all == 0 || counts.columns() < 2) return "";
  std::vector<double> load;
  for (const int64_t n : load_E) load.push_back(static_cast<double>(n));
  const auto places = places_of_experts(load);
  std::string rows, head;
  for (int64_t p = 0; p < counts.columns(); ++p)
    head += concat("<th scope=\"col\">", p + 1, "</th>");
  const auto E = std::min<size_t>(load_E.size(), most);
  for (size_t e = 0; e < E; ++e) {
    rows += concat("<tr><th scope=\"row\">", chip(e, places[e]), "</th>");
    for (int64_t p = 0; p < counts.columns(); ++p) {
      const double expected = load[e] * static_cast<double>(all_P[static_cast<size_t>(p)]) / all;
      const double ratio =
          expected > 0 ? static_cast<double>(counts.at(static_cast<int64_t>(e), p)) / expected
                       : analyze::kNotLogged;
      rows += heat_cell(ratio, "", fixed(ratio, 2) + "×");
    }
    rows += "</tr>\n";
  }
  return figure(
      "Expert × position",
      concat("load of an expert in each ", counts.columns(),
             "th of the sequence, over its load everywhere"),
      concat("<div class=\"scroll\"><table class=\"numbers cells strip\"><thead><tr>"
             "<th scope=\"col\">expert</th>",
             head, "</tr></thead><tbody>\n", rows, "</tbody></table></div>",
             first_of_experts(E, load_E.size()), "<p class=\"note\">The position settles ",
             settled_share(layer.position), " of the uncertainty about the expert.</p>\n"),
      "");
}

std::string hexadecimal(char byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const auto code = static_cast<unsigned char>(byte);
  return {kDigits[code >> 4], kDigits[code & 15]};
}

/// A token by itself: blanks made visible, bytes that are no whole character as hexadecimal
/// numbers.
std::string shown_token(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto piece = next_utf8(text);
    const std::string_view part = text.substr(0, piece.length);
    if (piece.kind != Utf8Piece::Kind::kCharacter)
      for (const char c : part) out += hexadecimal(c);
    else
      out += part == " " ? "␣" : part == "\n" ? "↵" : part == "\t" ? "⇥" : part;
    text.remove_prefix(piece.length);
  }
  return escaped(out);
}

std::string token_panel(const analyze::LayerStatistics& layer,
                        const std::vector<std::vector<TypicalToken>>& typical_E, size_t most) {
  std::vector<double> load_E;
  for (const int64_t n : layer.load_E) load_E.push_back(static_cast<double>(n));
  const auto places = places_of_experts(load_E);
  std::string rows;
  const size_t E = std::min(typical_E.size(), most);
  for (size_t e = 0; e < E; ++e) {
    rows += concat("<tr><th scope=\"row\">", chip(e, places[e]), "</th><td class=\"tokens\">");
    for (const auto& token : typical_E[e])
      rows += concat("<code title=\"", percent(token.share), ", ", fixed(token.lift, 1), "×\">",
                     shown_token(token.text), "</code> ");
    if (typical_E[e].empty()) rows += "<span class=\"none\">none stands out</span>";
    rows += "</td></tr>\n";
  }
  return figure(
      "Tokens that stand for an expert",
      "those it takes more often than others do; hover for their share of its choices and lift",
      concat("<div class=\"scroll\"><table class=\"numbers\"><tbody>\n", rows,
             "</tbody></table></div>", first_of_experts(E, typical_E.size()),
             "<p class=\"note\">The token alone settles ", settled_share(layer.token),
             " of the uncertainty about the expert.</p>\n"),
      "");
}

std::string panels_of(const ReportData& data, const LayerView& view, size_t columns, size_t most) {
  std::string out = figure("Load over time",
                           "a row an expert, a column some steps; colour: load over the even share",
                           load_map(data.run.log, view.index, columns),
                           "No step was logged with the load of this layer.", "wide");
  if (!data.study || view.index >= data.study->statistics.layers.size()) return out;
  const auto& statistics = data.study->statistics.layers[view.index];
  return out + concat("<div class=\"pair\">", domain_panel(data, view, most),
                      pairs_panel(statistics),
                      token_panel(statistics, data.study->typical_LE[view.index], most),
                      position_panel(statistics, most), "</div>\n");
}

std::string picker(const std::vector<LayerView>& views, size_t shown) {
  std::string out = "<fieldset class=\"picker layers\" role=\"radiogroup\"><legend>Layer</legend>";
  for (const auto& view : views)
    out += concat("<label class=\"row-", view.index,
                  "\"><input type=\"radio\" name=\"layer\" id=\"layer-", view.index, "\" value=\"",
                  view.index, '"', view.index == shown ? " checked" : "", "><span>", view.layer,
                  "</span></label>");
  return out + "</fieldset>\n";
}

/// What shows the picked layer and hides the others, without a script.
std::string rules(size_t layers) {
  std::string out = "<style>";
  for (size_t i = 0; i < layers; ++i)
    out += concat("body:has(#layer-", i, ":checked) .of-layer.row-", i,
                  "{display:block}body:has(#layer-", i, ":checked) .glance .row-", i,
                  "{background:var(--raised)}body:has(#layer-", i, ":checked) .layer-line.row-", i,
                  "{stroke:var(--moe);stroke-width:2.2;opacity:1}body:has(#layer-", i,
                  ":checked) text.row-", i, "{display:block;fill:var(--moe)}\n");
  return out + "</style>\n";
}

}  // namespace

std::string layers(const ReportData& data) {
  const auto views = layer_views(data);
  if (views.empty()) return "";
  const size_t shown = first_shown(views), columns = load_map_columns(data.run.log);
  const size_t most = std::clamp<size_t>(kRowsOfTables / views.size(), 8, kExpertsInTables);
  std::string panels;
  for (const auto& view : views)
    panels += concat("<div class=\"of-layer row-", view.index, "\" data-layer=\"", view.index,
                     "\"><h3>Layer ", view.layer, "</h3>\n", panels_of(data, view, columns, most),
                     "</div>\n");
  return section("layer", "Inside a layer",
                 concat(rules(views.size()), picker(views, shown), heat_legend(), panels,
                        text_panel(data, views, shown)));
}

}  // namespace moe::report
