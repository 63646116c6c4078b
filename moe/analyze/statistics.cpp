// T tokens, N pairs, E experts, V vocabulary, P bins of positions, G experts of the next layer.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <moe/analyze/information.h>
#include <moe/analyze/statistics.h>
#include <moe/base/error.h>

namespace moe::analyze {

namespace {

constexpr const char* kPlaceOfStatistics = "analyze/statistics";
/// Cells of one table, at most: 256 MiB.
constexpr size_t kMostCellsOfTable = size_t{1} << 24;

/// The experts of token t, each once.
void experts_of(const LayerPairs& pairs, size_t t, std::vector<int32_t>& out) {
  out.clear();
  for (int64_t n = pairs.offset_T[t]; n < pairs.offset_T[t + 1]; ++n)
    if (const int32_t e = pairs.expert_N[static_cast<size_t>(n)]; e >= 0) out.push_back(e);
  std::ranges::sort(out);
  out.erase(std::unique(out.begin(), out.end()), out.end());
}

std::string table_name(const char* what, int64_t layer) {
  return concat(what, " of layer ", layer);
}

}  // namespace

double weight_entropy(std::span<const float> weights) {
  double sum = 0;
  for (const float w : weights) sum += static_cast<double>(w);
  if (!(sum > 0) || !std::isfinite(sum)) return std::numeric_limits<double>::quiet_NaN();
  double out = 0;
  for (const float w : weights)
    if (const double p = static_cast<double>(w) / sum; p != 0) out -= p * std::log(p);
  return std::max(0.0, out);
}

/// One layer being added up.
struct StatisticsCollector::Layer {
  Layer(const LayerPairs& pairs, const StatisticsOptions& options, size_t cells)
      : tokens(pairs.experts, options.vocabulary, table_name("experts and tokens", pairs.layer),
               cells),
        positions(pairs.experts, options.position_bins,
                  table_name("experts and positions", pairs.layer), cells),
        together(pairs.experts, pairs.experts, table_name("pairs of experts", pairs.layer), cells) {
    out.layer = pairs.layer;
    out.experts = pairs.experts;
    out.load_E.resize(static_cast<size_t>(pairs.experts), 0);
    out.tokens_E.resize(static_cast<size_t>(pairs.experts), 0);
  }

  /// Token t of `rows`, in part `bin` of the sequence.
  void add(const LayerPairs& pairs, size_t t, int64_t id, int64_t bin, Choices choices) {
    const auto [first, end] = counted_pairs(pairs, t, choices);
    for (int64_t n = first; n < end; ++n) {
      const int32_t e = pairs.expert_N[static_cast<size_t>(n)];
      if (e < 0) continue;
      ++out.load_E[static_cast<size_t>(e)];
      tokens.add(e, id);
      positions.add(e, bin);
    }
    const auto begin = static_cast<size_t>(pairs.offset_T[t]),
               all = static_cast<size_t>(pairs.offset_T[t + 1]);
    for (size_t n = begin; n < all; ++n) out.dropped += pairs.expert_N[n] < 0;
    experts_of(pairs, t, chosen);
    for (size_t i = 0; i < chosen.size(); ++i) {
      ++out.tokens_E[static_cast<size_t>(chosen[i])];
      for (size_t j = i + 1; j < chosen.size(); ++j) together.add(chosen[i], chosen[j]);
    }
    if (!chosen.empty())
      out.weight_entropy.add(
          analyze::weight_entropy(std::span(pairs.weight_N).subspan(begin, all - begin)));
    if (!pairs.score_entropy_T.empty())
      out.score_entropy.add(static_cast<double>(pairs.score_entropy_T[t]));
  }

  LayerStatistics finish() {
    out.counts_EV = std::move(tokens).finish();
    out.counts_EP = std::move(positions).finish();
    out.together_EE = std::move(together).finish();
    out.token = association(out.counts_EV);
    out.position = association(out.counts_EP);
    const bool is_empty = std::ranges::all_of(out.load_E, [](int64_t n) { return n == 0; });
    out.load_entropy = is_empty ? std::numeric_limits<double>::quiet_NaN() : entropy(out.load_E);
    out.load_evenness = out.experts > 1 || is_empty
                            ? out.load_entropy / std::log(static_cast<double>(out.experts))
                            : 1;
    return std::move(out);
  }

  LayerStatistics out;
  CountTableBuilder tokens, positions, together;
  /// Pairs with the experts of the next layer; none for the last.
  std::optional<CountTableBuilder> flow;
  /// The experts of the token being added.
  std::vector<int32_t> chosen;
};

StatisticsCollector::StatisticsCollector(const StatisticsOptions& options) : options_(options) {
  check<ConfigError>(options.vocabulary >= 1, kPlaceOfStatistics,
                     "expected a vocabulary of at least 1, got ", options.vocabulary, '.');
  check<ConfigError>(options.position_bins >= 1 && options.position_bins <= 1 << 20,
                     kPlaceOfStatistics, "expected position bins in [1, 1048576], got ",
                     options.position_bins, ". Correct it.");
}

StatisticsCollector::~StatisticsCollector() = default;

void StatisticsCollector::begin(const RoutedRows& rows) {
  const size_t tables = 4 * rows.layers.size();
  const size_t cells =
      std::min(kMostCellsOfTable, options_.most_cells / std::max<size_t>(1, tables));
  for (size_t i = 0; i < rows.layers.size(); ++i) {
    layers_.push_back(std::make_unique<Layer>(rows.layers[i], options_, cells));
    if (i == 0) continue;
    layers_[i - 1]->flow.emplace(
        rows.layers[i - 1].experts, rows.layers[i].experts,
        concat("experts of the layers ", rows.layers[i - 1].layer, " and ", rows.layers[i].layer),
        cells);
  }
}

void StatisticsCollector::add(const RoutedRows& rows) {
  if (layers_.empty()) begin(rows);
  check(layers_.size() == rows.layers.size(), kPlaceOfStatistics, "expected rows with ",
        layers_.size(), " MoE layers, as before, got ", rows.layers.size(),
        ". Add the rows of one model.");
  for (size_t i = 0; i < layers_.size(); ++i)
    check(layers_[i]->out.experts == rows.layers[i].experts, kPlaceOfStatistics, "expected ",
          layers_[i]->out.experts, " experts in layer ", rows.layers[i].layer, ", as before, got ",
          rows.layers[i].experts, ". Add the rows of one model.");
  const int64_t P = options_.position_bins, S = std::max<int64_t>(1, rows.sequence);
  for (size_t t = 0; t < rows.token_T.size(); ++t) {
    if (!rows.counted_T[t]) continue;
    ++tokens_;
    const int64_t id = rows.token_T[t];
    check(id >= 0 && id < options_.vocabulary, kPlaceOfStatistics, "expected token ids in [0, ",
          options_.vocabulary, "), got ", id, '.');
    const int64_t bin = std::min(P - 1, int64_t{rows.position_T[t]} * P / S);
    for (size_t i = 0; i < layers_.size(); ++i) {
      layers_[i]->add(rows.layers[i], t, id, bin, options_.choices);
      if (i == 0) continue;
      for (const int32_t from : layers_[i - 1]->chosen)
        for (const int32_t to : layers_[i]->chosen) layers_[i - 1]->flow->add(from, to);
    }
  }
}

RoutingStatistics StatisticsCollector::finish() && {
  RoutingStatistics out{.tokens = tokens_, .position_bins = options_.position_bins};
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (layers_[i]->flow) {
      LayerFlow flow{.from = layers_[i]->out.layer, .to = layers_[i + 1]->out.layer};
      flow.counts_EG = std::move(*layers_[i]->flow).finish();
      flow.association = association(flow.counts_EG);
      out.flows.push_back(std::move(flow));
    }
    out.layers.push_back(layers_[i]->finish());
  }
  return out;
}

}  // namespace moe::analyze
