// E experts, P bins of positions.
#include "tools/moe/analyze_statistics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <moe/analyze/coactivation.h>
#include <moe/analyze/expert_tokens.h>
#include <moe/base/utf8.h>

namespace moe::tools {

namespace {

using analyze::Association;
using analyze::ExpertPair;
using analyze::Moments;
using analyze::TokenOfExpert;

/// A token in quotes: what a terminal cannot show as \xNN.
std::string shown_text(const data::Tokenizer& tokenizer, int64_t id) {
  const std::string bytes = data::token_text(tokenizer, id);
  std::string out = "'";
  for (std::string_view rest = bytes; !rest.empty();) {
    const auto piece = next_utf8(rest);
    const bool shown =
        piece.kind == Utf8Piece::Kind::kCharacter && !is_control(rest.substr(0, piece.length));
    for (size_t i = 0; i < piece.length; ++i) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned char>(rest[i]));
      out += shown ? std::string(1, rest[i]) : std::string(escape);
    }
    rest.remove_prefix(piece.length);
  }
  return out + '\'';
}

/// JSON has no NaN.
Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

/// One number has no deviation.
Json moments_json(const Moments& moments) {
  return {{"count", moments.count()},
          {"mean", number(moments.mean())},
          {"std", moments.count() > 1 ? number(moments.deviation()) : Json()},
          {"min", number(moments.min())},
          {"max", number(moments.max())},
          {"not_finite", moments.not_finite()}};
}

/// A share of nothing is null.
Json share_json(double share, double of) {
  return of > 0 ? Json(share) : Json();
}

Json association_json(const Association& found) {
  return {{"information", found.information},
          {"corrected", found.corrected},
          {"expert_entropy", found.expert_entropy},
          {"label_entropy", found.label_entropy},
          {"of_expert", share_json(found.of_expert, found.expert_entropy)},
          {"of_label", share_json(found.of_label, found.label_entropy)}};
}

Json tokens_json(const std::vector<TokenOfExpert>& tokens, const data::Tokenizer& tokenizer) {
  Json out = Json::array();
  for (const auto& [id, pairs, share, lift] : tokens)
    out.push_back({{"token", id},
                   {"text", data::token_text(tokenizer, id)},
                   {"pairs", pairs},
                   {"share", share},
                   {"lift", lift}});
  return out;
}

Json pairs_json(const std::vector<ExpertPair>& pairs, int64_t most) {
  Json list = Json::array();
  for (const auto& pair : analyze::strongest(pairs, most))
    list.push_back({{"first", pair.first},
                    {"second", pair.second},
                    {"together", pair.together},
                    {"expected", pair.expected},
                    {"lift", pair.lift}});
  return {{"seen", pairs.size()}, {"strongest", std::move(list)}};
}

/// Share of expert e's pairs in each part of the sequence; NaN for an expert without pairs.
std::vector<double> shares_of_positions(const analyze::CountTable& counts_EP, int64_t expert) {
  std::vector<double> out;
  double all = 0;
  for (int64_t p = 0; p < counts_EP.columns(); ++p) {
    out.push_back(static_cast<double>(counts_EP.at(expert, p)));
    all += out.back();
  }
  for (auto& share : out) share /= all;
  return out;
}

Json layer_json(const analyze::LayerStatistics& layer, const data::Tokenizer& tokenizer,
                const ListLengths& lengths) {
  Json experts = Json::array();
  const auto tokens_E = analyze::tokens_of_experts(layer.counts_EV, lengths.tokens);
  for (size_t e = 0; e < tokens_E.size(); ++e)
    experts.push_back(
        {{"expert", e},
         {"pairs", tokens_E[e].pairs},
         {"different_tokens", tokens_E[e].distinct},
         {"frequent", tokens_json(tokens_E[e].frequent, tokenizer)},
         {"typical", tokens_json(tokens_E[e].typical, tokenizer)},
         {"positions", shares_of_positions(layer.counts_EP, static_cast<int64_t>(e))}});
  return {{"layer", layer.layer},
          {"dropped", layer.dropped},
          {"load_entropy", number(layer.load_entropy)},
          {"load_evenness", number(layer.load_evenness)},
          {"weight_entropy", moments_json(layer.weight_entropy)},
          {"score_entropy", moments_json(layer.score_entropy)},
          {"token", association_json(layer.token)},
          {"position", association_json(layer.position)},
          {"experts", std::move(experts)},
          {"together",
           pairs_json(analyze::pairs_together(layer.together_EE, layer.tokens_E), lengths.pairs)}};
}

void print_tokens(const char* title, const std::vector<TokenOfExpert>& tokens,
                  const data::Tokenizer& tokenizer) {
  std::printf("  %s", title);
  for (const auto& token : tokens)
    std::printf(" %s %.1f%% x%.1f", shown_text(tokenizer, token.token).c_str(), 100 * token.share,
                token.lift);
}

bool same_tokens(const std::vector<TokenOfExpert>& a, const std::vector<TokenOfExpert>& b) {
  return std::ranges::equal(a, b, {}, &TokenOfExpert::token, &TokenOfExpert::token);
}

void print_pairs(const char* title, const std::vector<ExpertPair>& pairs, const char* arrow,
                 int64_t most) {
  const auto strongest = analyze::strongest(pairs, most);
  if (strongest.empty()) return;
  std::printf("  %s", title);
  for (const auto& pair : strongest)
    std::printf("  %lld%s%lld x%.2f", static_cast<long long>(pair.first), arrow,
                static_cast<long long>(pair.second), pair.lift);
  std::printf("\n");
}

void print_layer(const analyze::LayerStatistics& layer, const data::Tokenizer& tokenizer,
                 const ListLengths& lengths) {
  std::printf("\nlayer %lld\n", static_cast<long long>(layer.layer));
  const auto print_entropy = [](const char* of, const Moments& moments) {
    if (moments.count() > 1)
      std::printf("  entropy of a token's %s %.3f +- %.3f nats, %.3f to %.3f\n", of, moments.mean(),
                  moments.deviation(), moments.min(), moments.max());
  };
  print_entropy("weights", layer.weight_entropy);
  print_entropy("scores of all experts", layer.score_entropy);
  if (layer.token.expert_entropy > 0)
    std::printf(
        "  the token id settles %.1f %% of the expert's entropy (%.3f nats, %.3f without "
        "chance), its place %.1f %%\n",
        100 * layer.token.of_expert, layer.token.information, layer.token.corrected,
        100 * layer.position.of_expert);
  else
    std::printf("  at most one expert got tokens, so nothing of it is left to settle\n");
  const auto tokens_E = analyze::tokens_of_experts(layer.counts_EV, lengths.tokens);
  for (size_t e = 0; e < tokens_E.size() && lengths.tokens > 0; ++e) {
    std::printf("  expert %zu:", e);
    print_tokens("most", tokens_E[e].frequent, tokenizer);
    if (!same_tokens(tokens_E[e].frequent, tokens_E[e].typical))
      print_tokens(" typical", tokens_E[e].typical, tokenizer);
    std::printf("\n");
  }
  print_pairs("together more than by chance:",
              analyze::pairs_together(layer.together_EE, layer.tokens_E), "+", lengths.pairs);
}

}  // namespace

Json statistics_json(const analyze::RoutingStatistics& statistics, const data::Tokenizer& tokenizer,
                     const ListLengths& lengths) {
  Json layers = Json::array(), flows = Json::array();
  for (const auto& layer : statistics.layers)
    layers.push_back(layer_json(layer, tokenizer, lengths));
  for (const auto& flow : statistics.flows)
    flows.push_back({{"from", flow.from},
                     {"to", flow.to},
                     {"association", association_json(flow.association)},
                     {"pairs", pairs_json(analyze::pairs_across(flow.counts_EG), lengths.pairs)}});
  return {{"position_bins", statistics.position_bins},
          {"layers", std::move(layers)},
          {"flows", std::move(flows)}};
}

void print_statistics(const analyze::RoutingStatistics& statistics,
                      const data::Tokenizer& tokenizer, const ListLengths& lengths) {
  std::printf(
      "\nTokens of each expert: the share of its choices, and how many times the token's "
      "share of all (x).\n");
  for (const auto& layer : statistics.layers) print_layer(layer, tokenizer, lengths);
  for (const auto& flow : statistics.flows) {
    if (flow.association.label_entropy == 0) continue;  // at most one expert: nothing to settle
    std::printf("\nlayer %lld to %lld: the expert settles %.1f %% of the next one's entropy\n",
                static_cast<long long>(flow.from), static_cast<long long>(flow.to),
                100 * flow.association.of_label);
    print_pairs("after each other more than by chance:", analyze::pairs_across(flow.counts_EG), ">",
                lengths.pairs);
  }
  std::fflush(stdout);
}

Json metrics_json(const analyze::MetricSummary& summary) {
  Json out = Json::object();
  for (const auto& [name, moments] : summary.metrics()) {
    out[name] = moments_json(moments);
    out[name]["last"] = number(moments.last());
  }
  return out;
}

}  // namespace moe::tools
