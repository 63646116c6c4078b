#include <algorithm>

#include <moe/analyze/association.h>
#include <moe/analyze/information.h>

namespace moe::analyze {

namespace {

double share_of(double part, double whole) {
  return whole > 0 ? std::clamp(part / whole, 0.0, 1.0) : 0;
}

}  // namespace

Association association(const CountTable& counts_EL) {
  Association out;
  const int64_t N = counts_EL.total();
  if (N == 0) return out;
  const auto experts_E = counts_EL.row_sums(), labels_L = counts_EL.column_sums();
  const auto filled = [](const std::vector<int64_t>& counts) {
    return static_cast<int64_t>(counts.size()) - std::ranges::count(counts, 0);
  };
  out.expert_entropy = entropy(experts_E);
  out.label_entropy = entropy(labels_L);
  out.information =
      std::max(0.0, out.expert_entropy + out.label_entropy - entropy(counts_EL.counts()));
  const int64_t freedom =
      static_cast<int64_t>(counts_EL.size()) - filled(experts_E) - filled(labels_L) + 1;
  out.corrected = std::max(
      0.0, out.information - static_cast<double>(freedom) / (2.0 * static_cast<double>(N)));
  out.of_expert = share_of(out.information, out.expert_entropy);
  out.of_label = share_of(out.information, out.label_entropy);
  return out;
}

}  // namespace moe::analyze
