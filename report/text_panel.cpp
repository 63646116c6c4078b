// Held-out text in the colours of its experts. T tokens, E experts.
#include <cmath>

#include <nlohmann/json.hpp>

#include <moe/base/error.h>
#include <report/html.h>
#include <report/sections.h>

namespace moe::report {

namespace {

using PanelJson = nlohmann::ordered_json;

std::vector<double> load_of(const LayerView& view) {
  if (view.study) return view.study->load_E;
  return view.last ? view.last->load_E : std::vector<double>();
}

/// What a token looks like: line ends are drawn, and kept but for one at its end.
std::string token_html(std::string_view text) {
  const bool ends_line = text.ends_with('\n');
  if (ends_line) text.remove_suffix(1);
  std::string out;
  for (const char c : text)
    if (c == '\n')
      out += "↵\n";
    else if (c == '\t')
      out += "⇥\t";
    else
      out += c;
  return escaped(out) + (ends_line ? "↵" : "");
}

std::string passage_html(const Passage& passage, size_t number, size_t index,
                         const std::vector<int>& places) {
  std::string out = concat("<figure class=\"passage\"><figcaption><b>", escaped(passage.domain),
                           "</b></figcaption><div class=\"text\" role=\"listbox\" "
                           "aria-orientation=\"horizontal\" aria-label=\"Tokens of ",
                           escaped(passage.domain), "\" data-passage=\"", number, "\">");
  for (size_t t = 0; t < passage.text_T.size(); ++t) {
    const auto& choices = passage.choices_LT[index][t];
    const auto expert = choices.empty() ? size_t{0} : static_cast<size_t>(choices[0].expert);
    const std::string place = choices.empty()      ? "-none"
                              : places[expert] < 0 ? "-rest"
                                                   : std::to_string(places[expert]);
    out += concat("<span role=\"option\" tabindex=\"", t == 0 ? "0" : "-1", "\" class=\"t",
                  passage.text_T[t].empty() ? " sliver" : "", " x", place, "\" data-e=\"",
                  choices.empty() ? std::string("–") : std::to_string(expert), "\">",
                  token_html(passage.text_T[t]), "</span>",
                  // Outside: a span over two lines has no place for its number.
                  passage.text_T[t].ends_with('\n') ? "\n" : "");
  }
  return out + "</div></figure>\n";
}

/// Which expert has which colour in a layer.
std::string legend(const LayerView& view, const std::vector<int>& places) {
  std::string out = concat("<div class=\"legend of-layer row-", view.index,
                           "\" role=\"group\" aria-label=\"Experts of layer ", view.layer,
                           "; press one to see its tokens alone\">");
  const auto load_E = load_of(view);
  bool has_rest = false;
  for (size_t e = 0; e < places.size(); ++e) {
    has_rest = has_rest || places[e] < 0;
    if (places[e] < 0) continue;
    out += concat("<button type=\"button\" class=\"chip\" aria-pressed=\"false\" data-expert=\"", e,
                  "\" title=\"", percent(load_E[e]), " of the load\"><i class=\"x x", places[e],
                  "\"></i>", e, "</button>");
  }
  if (has_rest) out += "<span class=\"chip\"><i class=\"x x-rest\"></i>others</span>";
  return out + "</div>\n";
}

/// Per passage, layer and token: expert, weight in thousandths, expert, weight, …
PanelJson choices_json(const Passage& passage) {
  PanelJson layers = PanelJson::array();
  for (const auto& choices_T : passage.choices_LT) {
    PanelJson tokens = PanelJson::array();
    for (const auto& choices : choices_T) {
      PanelJson token = PanelJson::array();
      for (const auto& [expert, weight] : choices) {
        token.push_back(expert);
        token.push_back(std::isfinite(weight) ? PanelJson(std::lround(1000 * weight))
                                              : PanelJson());
      }
      tokens.push_back(std::move(token));
    }
    layers.push_back(std::move(tokens));
  }
  return layers;
}

}  // namespace

std::string text_panel(const ReportData& data, const std::vector<LayerView>& views, size_t shown) {
  if (!data.study || data.study->passages.empty()) return "";
  std::string legends, passages;
  PanelJson json = {{"layers", PanelJson::array()}, {"passages", PanelJson::array()}};
  for (const auto& view : views) {
    const auto places = places_of_experts(load_of(view));
    legends += legend(view, places);
    json["layers"].push_back({{"number", view.layer}, {"places", places}});
  }
  const auto places = places_of_experts(load_of(views[shown]));
  for (size_t i = 0; i < data.study->passages.size(); ++i) {
    const auto& passage = data.study->passages[i];
    if (shown >= passage.choices_LT.size()) continue;
    passages += passage_html(passage, i, shown, places);
    json["passages"].push_back(choices_json(passage));
  }
  return concat(
      "<figure class=\"wide texts\"><figcaption><b>Held-out text, coloured by the expert that took "
      "each token first</b> <span>hover, or tab into a text and use the arrow keys, for a token's "
      "choices and their weights</span></figcaption>\n",
      legends,
      "<div class=\"controls\"><label><input type=\"checkbox\" id=\"numbers\"> expert numbers "
      "under "
      "the tokens</label><noscript> Without JavaScript this text shows layer ",
      views[shown].layer, " only.</noscript></div>\n<div class=\"passages\">\n", passages,
      "</div></figure>\n<script type=\"application/json\" id=\"choices\">",
      escaped_json(json.dump(-1, ' ', false, PanelJson::error_handler_t::replace)), "</script>\n");
}

}  // namespace moe::report
