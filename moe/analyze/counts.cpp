// T tokens, N pairs, E experts, U rows.
#include <moe/analyze/counts.h>
#include <moe/base/error.h>

namespace moe::analyze {

namespace {

constexpr size_t kMostCounts = size_t{1} << 30;

}  // namespace

void add_rows(RoutingCounts& counts, const RoutedRows& rows, Choices choices) {
  if (counts.layers.empty())
    for (const auto& pairs : rows.layers)
      counts.layers.push_back({.layer = pairs.layer, .experts = pairs.experts});
  check(counts.layers.size() == rows.layers.size(), "analyze/counts", "expected rows with ",
        counts.layers.size(), " MoE layers, as before, got ", rows.layers.size(),
        ". Count the rows of one model.");
  size_t size = 0;
  for (const auto& layer : counts.layers)
    size += layer.counts_UE.size() + static_cast<size_t>(rows.rows() * layer.experts);
  check(size <= kMostCounts, "analyze/counts", "expected at most ", kMostCounts,
        " counts of rows and experts, got ", size, ". Look at fewer rows (--batches).");

  for (size_t i = 0; i < counts.layers.size(); ++i) {
    auto& layer = counts.layers[i];
    const auto& pairs = rows.layers[i];
    check(layer.experts == pairs.experts && layer.layer == pairs.layer, "analyze/counts",
          "expected layer ", layer.layer, " with ", layer.experts,
          " experts, as before, got layer ", pairs.layer, " with ", pairs.experts,
          ". Count the rows of one model.");
    const auto E = static_cast<size_t>(layer.experts);
    for (size_t u = 0; u + 1 < rows.row_begin_U.size(); ++u) {
      const size_t row = layer.counts_UE.size();
      layer.counts_UE.resize(row + E, 0);
      const auto first = static_cast<size_t>(rows.row_begin_U[u]),
                 last = static_cast<size_t>(rows.row_begin_U[u + 1]);
      for (size_t t = first; t < last; ++t) {
        if (!rows.counted_T[t]) continue;
        const auto [begin, end] = counted_pairs(pairs, t, choices);
        for (int64_t n = begin; n < end; ++n)
          if (const int32_t e = pairs.expert_N[static_cast<size_t>(n)]; e >= 0)
            ++layer.counts_UE[row + static_cast<size_t>(e)];
      }
    }
  }
  counts.domain_U.insert(counts.domain_U.end(), static_cast<size_t>(rows.rows()), rows.domain);
  for (const uint8_t counted : rows.counted_T) counts.tokens += counted;
}

RoutingCounts count_routing(models::Model& model, const data::Corpus& corpus,
                            const CountOptions& options) {
  RoutingCounts out;
  out.domains = validated_domains(corpus);
  route_rows(model, corpus, {.batch = options.batch, .max_batches = options.max_batches},
             [&](const RoutedRows& rows) { add_rows(out, rows, options.choices); });
  return out;
}

}  // namespace moe::analyze
