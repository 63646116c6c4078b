// E experts, W ranks, R ranks a node.
#include <algorithm>

#include <moe/cluster/predicted_rows.h>

namespace moe::cluster {

PredictedRows predict_rows(const Traffic& traffic, const Placement& placement,
                           const std::vector<Replica>& replicas, int64_t ranks,
                           int64_t ranks_per_node) {
  check(static_cast<int64_t>(placement.size()) == traffic.experts, "cluster/predicted_rows",
        "expected a rank for each of ", traffic.experts, " experts, got ", placement.size(),
        ". Correct the placement.");
  PredictedRows out;
  const auto pairs = static_cast<double>(traffic.pairs());
  if (pairs == 0) return out;
  std::vector<std::vector<int32_t>> ranks_E;
  for (const int32_t rank : placement) ranks_E.push_back({rank});
  for (const auto& replica : replicas)
    ranks_E.at(static_cast<size_t>(replica.expert)) = replica.ranks;
  std::vector<double> load_W(static_cast<size_t>(ranks), 0);
  const auto load_E = traffic.load_E();
  for (size_t e = 0; e < ranks_E.size(); ++e)
    for (const int32_t rank : ranks_E[e])
      load_W.at(static_cast<size_t>(rank)) +=
          static_cast<double>(load_E[e]) / static_cast<double>(ranks_E[e].size());
  const auto W = static_cast<double>(ranks), R = static_cast<double>(ranks_per_node);
  const double pairs_a_token = pairs / static_cast<double>(traffic.tokens());
  out.between_ranks = pairs_a_token * (1 - 1 / W);
  out.between_nodes = pairs_a_token * (1 - R / W);
  out.busiest_rank = *std::ranges::max_element(load_W) / (pairs / W);
  return out;
}

}  // namespace moe::cluster
