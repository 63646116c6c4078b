#pragma once

#include <string>

#include <moe/routing/router.h>

namespace moe {

/// Two levels of routers (Jordan & Jacobs 1994): one over clusters of experts, one over the experts
/// of each cluster.
struct HierarchicalRouter {
  int64_t clusters = 0;
  int64_t kept_clusters = 0;
  bool renormalise_clusters = false;
  bool renormalise = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("clusters", clusters,
      "split the experts into this many clusters of neighbours; 0: the largest divisor of "
      "num_experts up to its square root");
    v("kept_clusters", kept_clusters,
      "a token's best clusters, among which its top_k choices are shared out evenly (the best ones "
      "get one more where that leaves a rest); 0: as few as hold top_k experts");
    v("renormalise_clusters", renormalise_clusters,
      "divide the probabilities of the kept clusters by their sum");
    v("renormalise", renormalise,
      "divide the probabilities of the experts chosen in a cluster by their sum");
  }
  void validate(const std::string& place) const;
  operator RouterSpec() const { return spec_of<RouterSpec>("hierarchical", *this); }
};

}  // namespace moe
