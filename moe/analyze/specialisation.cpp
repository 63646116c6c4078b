// D domains, E experts, U rows.
#include <algorithm>
#include <cmath>
#include <utility>

#include <moe/analyze/information.h>
#include <moe/analyze/specialisation.h>
#include <moe/base/random.h>

namespace moe::analyze {

namespace {

constexpr const char* kPlaceOfSpecialisation = "analyze/specialisation";

/// The rows of the chosen domains: which they are, and their label among the chosen.
struct Chosen {
  std::vector<int64_t> row_U;
  std::vector<int64_t> label_U;
};

std::vector<std::string> check_domains(const RoutingCounts& counts,
                                       const std::vector<std::string>& asked) {
  std::vector<std::string> out;
  for (const auto& name : asked.empty() ? counts.domains : asked) {
    check_one_of(kPlaceOfSpecialisation, "domain", name, counts.domains);
    check<ConfigError>(std::ranges::find(out, name) == out.end(), kPlaceOfSpecialisation,
                       "expected different domains, got '", name, "' twice. Leave one out.");
    out.push_back(name);
  }
  check<ConfigError>(asked.empty() || out.size() >= 2, kPlaceOfSpecialisation,
                     "expected at least two domains to tell apart, got ", join(out),
                     ". With validation data: ", join(counts.domains), '.');
  return out;
}

Chosen choose_rows(const RoutingCounts& counts, const std::vector<std::string>& domains) {
  Chosen out;
  for (int64_t u = 0; u < counts.rows(); ++u) {
    const auto& name = counts.domains[static_cast<size_t>(counts.domain_U[static_cast<size_t>(u)])];
    const auto found = std::ranges::find(domains, name);
    if (found == domains.end()) continue;
    out.row_U.push_back(u);
    out.label_U.push_back(found - domains.begin());
  }
  return out;
}

/// Row-major (D, E): the counts of the chosen rows added up by label.
std::vector<int64_t> table_of(const LayerCounts& layer, const std::vector<int64_t>& row_U,
                              const std::vector<int64_t>& label_U, size_t domains) {
  const auto E = static_cast<size_t>(layer.experts);
  std::vector<int64_t> table_DE(domains * E, 0);
  for (size_t u = 0; u < row_U.size(); ++u) {
    const int64_t* from = layer.counts_UE.data() + static_cast<size_t>(row_U[u]) * E;
    int64_t* to = table_DE.data() + static_cast<size_t>(label_U[u]) * E;
    for (size_t e = 0; e < E; ++e) to[e] += from[e];
  }
  return table_DE;
}

LayerSpecialisation describe(const LayerCounts& layer, const std::vector<int64_t>& table_DE) {
  LayerSpecialisation out;
  const auto E = static_cast<size_t>(layer.experts);
  out.layer = layer.layer;
  for (size_t begin = 0; begin < table_DE.size(); begin += E)
    out.counts_DE.emplace_back(table_DE.begin() + static_cast<std::ptrdiff_t>(begin),
                               table_DE.begin() + static_cast<std::ptrdiff_t>(begin + E));
  const auto load_E = column_sums(table_DE, layer.experts);
  double total = 0;
  for (const int64_t n : load_E) total += static_cast<double>(n);
  for (const int64_t n : load_E)
    out.load_E.push_back(total > 0 ? static_cast<double>(n) / total : 0);
  out.load_entropy = total == 0 ? std::nan("")
                     : E > 1    ? entropy(load_E) / std::log(static_cast<double>(E))
                                : 1;
  out.mutual_information = mutual_information(table_DE, layer.experts);
  out.normalised = normalised_information(table_DE, layer.experts);
  return out;
}

/// Shuffles in place (Fisher-Yates); permutation number p of a stream uses its own indices.
void permute(std::vector<int64_t>& labels, const RandomStream& stream, uint64_t p) {
  for (size_t i = labels.size(); i > 1; --i)
    std::swap(labels[i - 1], labels[stream.below(p * labels.size() + i - 1, i)]);
}

void finish_test(LayerSpecialisation& layer, std::vector<double> values) {
  std::ranges::sort(values);
  const auto count = values.size();
  layer.percentile_99 = count < static_cast<size_t>(kFewestPermutations)
                            ? std::nan("")
                            : values[(99 * count + 99) / 100 - 1];
  layer.above = layer.normalised > layer.percentile_99;
  // Tables that are equal but for the order of domains differ by rounding.
  const double reached = layer.normalised - 1e-12;
  const auto as_large = values.end() - std::ranges::lower_bound(values, reached);
  layer.p_value = static_cast<double>(1 + as_large) / static_cast<double>(1 + count);
}

}  // namespace

Specialisation specialisation(const RoutingCounts& counts, const std::vector<std::string>& domains,
                              const PermutationOptions& options) {
  check<ConfigError>(options.permutations >= 1 && options.permutations <= 1000000,
                     kPlaceOfSpecialisation, "expected permutations in [1, 1000000], got ",
                     options.permutations, ". Correct it.");
  Specialisation out;
  out.domains = check_domains(counts, domains);
  auto [row_U, label_U] = choose_rows(counts, out.domains);
  out.rows = static_cast<int64_t>(row_U.size());
  out.permutations = options.permutations;
  for (const auto& layer : counts.layers)
    out.layers.push_back(describe(layer, table_of(layer, row_U, label_U, out.domains.size())));

  const RandomStream stream(options.seed, "analyze/permutation");
  std::vector<std::vector<double>> values(counts.layers.size());
  for (int64_t p = 0; p < options.permutations; ++p) {
    permute(label_U, stream, static_cast<uint64_t>(p));
    for (size_t i = 0; i < counts.layers.size(); ++i)
      values[i].push_back(
          normalised_information(table_of(counts.layers[i], row_U, label_U, out.domains.size()),
                                 counts.layers[i].experts));
  }
  for (size_t i = 0; i < out.layers.size(); ++i) finish_test(out.layers[i], std::move(values[i]));
  return out;
}

}  // namespace moe::analyze
