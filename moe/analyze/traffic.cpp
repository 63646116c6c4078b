// E experts, T tokens.
#include <moe/analyze/traffic.h>

namespace moe::analyze {

void TrafficCollector::add(const RoutedRows& rows) {
  if (builders_.empty())
    for (const auto& layer : rows.layers) {
      layers_.push_back(layer.layer);
      experts_.push_back(layer.experts);
      builders_.emplace_back(layer.layer, layer.experts);
    }
  check(rows.layers.size() == builders_.size(), "analyze/traffic", "expected rows of ",
        builders_.size(), " layers with experts, got ", rows.layers.size(),
        ". Add up the rows of one model.");
  for (size_t i = 0; i < rows.layers.size(); ++i) {
    const auto& layer = rows.layers[i];
    check(layer.layer == layers_[i] && layer.experts == experts_[i], "analyze/traffic",
          "expected layer ", layers_[i], " with ", experts_[i], " experts, got layer ", layer.layer,
          " with ", layer.experts, ". Add up the rows of one model.");
    for (size_t t = 0; t < rows.counted_T.size(); ++t) {
      if (!rows.counted_T[t]) continue;
      std::vector<int32_t> chosen;
      for (int64_t n = layer.offset_T[t]; n < layer.offset_T[t + 1]; ++n)
        if (layer.expert_N[n] >= 0) chosen.push_back(layer.expert_N[n]);
      builders_[i].add(std::move(chosen));
    }
  }
}

std::vector<cluster::Traffic> TrafficCollector::finish() && {
  std::vector<cluster::Traffic> out;
  for (auto& builder : builders_) out.push_back(std::move(builder).finish());
  return out;
}

}  // namespace moe::analyze
