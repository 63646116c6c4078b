// T tokens, D model width, E experts, K choices per token, C clusters of S experts, J kept
// clusters, N choices in one.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/choice.h>
#include <moe/ops/order.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/hierarchical.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void HierarchicalRouter::validate(const std::string&) const {
  const char* place = "routing/hierarchical";
  check<ConfigError>(clusters >= 0, place, "expected clusters >= 0, got ", clusters,
                     ". Use 0 for about the square root of the number of experts.");
  check<ConfigError>(kept_clusters >= 0 && (clusters == 0 || kept_clusters <= clusters), place,
                     "expected kept_clusters in [0, clusters=", clusters, "], got ", kept_clusters,
                     ". Use 0 for as few as hold top_k experts.");
}

}  // namespace moe

namespace moe::routing {

namespace {

constexpr const char* kPlaceOfHierarchical = "routing/hierarchical";

/// The largest divisor of E up to its square root.
int64_t usual_clusters(int64_t E) {
  int64_t best = 1;
  for (int64_t c = 1; c * c <= E; ++c)
    if (E % c == 0) best = c;
  return best;
}

struct ClusterRouter final : Module {
  ClusterRouter(int64_t C, int64_t D, const at::TensorOptions& tensors) : Module(tensors) {
    weight_CD = add_parameter("weight", {C, D}, {.role = Role::kScores});
  }

  Tensor weight_CD;
};

/// A hierarchical mixture of two levels (Jordan & Jacobs 1994, sparse as in Shazeer et al. 2017,
/// appendix B): cluster c is the experts [c S, (c+1) S).
///
///   P(c) = softmax(V x)_c                 the router of clusters
///   P(e | c) = softmax over c's experts of (W x)_e   the router of cluster c
///
/// The J clusters with the largest P(c) are kept; in each the experts with the largest P(e | c) are
/// chosen, K/J of them. Weight = P(c) P(e | c), each factor divided by its sum over the chosen if
/// its option says so. A token's pairs stand by falling weight. With every cluster kept and K = E
/// the mixture is the dense one of 1994.
///
/// Parameters: "weight" (E, D), W, and "clusters.weight" (C, D), V, which a single cluster has not.
/// scores_TE is P(c) P(e | c) of all experts; logits_TE is (V x)_c + (W x)_e, which is large where
/// the logits of either level are.
class Hierarchical final : public Router {
 public:
  Hierarchical(const RouterShape& shape, const HierarchicalRouter& options)
      : Router(shape), options_(options) {
    const int64_t D = shape.d_model, E = shape.num_experts, K = shape.top_k;
    clusters_ = options.clusters > 0 ? options.clusters : usual_clusters(E);
    check<ConfigError>(E % clusters_ == 0, kPlaceOfHierarchical,
                       "expected clusters of equal size, got clusters=", clusters_,
                       " for num_experts=", E, ". Choose a divisor of the number of experts.");
    const int64_t S = E / clusters_;
    kept_ = options.kept_clusters > 0 ? options.kept_clusters : (K + S - 1) / S;
    check<ConfigError>(kept_ <= std::min(K, clusters_), kPlaceOfHierarchical,
                       "expected kept_clusters up to clusters=", clusters_, " and top_k=", K,
                       ", got ", kept_, ". A kept cluster gives at least one expert.");
    most_ = (K + kept_ - 1) / kept_;
    check<ConfigError>(most_ <= S, kPlaceOfHierarchical,
                       "expected kept_clusters that hold top_k=", K, " experts, got ", kept_,
                       " with ", kept_ * S, ". Keep more clusters or lower top_k.");
    weight_ED_ = add_parameter("weight", {E, D}, {.role = Role::kScores, .per_expert = true});
    if (clusters_ > 1)
      router_ =
          register_module("clusters", std::make_shared<ClusterRouter>(clusters_, D, tensors()));
    set_untrained(why_part_constant());
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const int64_t T = x_TD.size(0), C = clusters_, S = shape_.num_experts / C, J = kept_, N = most_;
    const Tensor own_TCS = wide_linear(x_TD, weight_ED_).view({T, C, S});
    const Tensor cluster_TC = cluster_logits(x_TD, own_TCS);
    const ops::Choices of_cluster =
        ops::choose(cluster_TC, {.k = J, .sum_to_one = options_.renormalise_clusters});
    const Tensor kept_TJ1 = of_cluster.experts_TK.unsqueeze(2);
    const Tensor own_TJS = at::gather(own_TCS, 1, kept_TJ1.expand({T, J, S}));
    const ops::Choices of_expert =
        ops::choose(own_TJS.reshape({T * J, S}), {.k = N, .sum_to_one = false});
    const Tensor experts_TJN = kept_TJ1 * S + of_expert.experts_TK.view({T, J, N});
    const Tensor weights_TJN =
        of_cluster.weights_TK.unsqueeze(2) * shares(of_expert.weights_TK.view({T, J, N}));

    const Tensor place_K = chosen_places(x_TD.device());
    const Tensor experts_TK = experts_TJN.reshape({T, J * N}).index_select(1, place_K);
    const Tensor weights_TK = weights_TJN.reshape({T, J * N}).index_select(1, place_K);
    const Tensor order_TK = ops::topk(weights_TK.detach(), shape_.top_k).second;
    const Tensor scores_TCS = at::softmax(cluster_TC, 1).unsqueeze(2) * at::softmax(own_TCS, 2);
    Routing routing =
        finish_fixed(at::gather(experts_TK, 1, order_TK), at::gather(weights_TK, 1, order_TK),
                     (cluster_TC.unsqueeze(2) + own_TCS).reshape({T, C * S}),
                     scores_TCS.reshape({T, C * S}), context);
    routing.weights_are_shares = options_.renormalise && options_.renormalise_clusters;
    return routing;
  }

 private:
  Tensor cluster_logits(const Tensor& x_TD, const Tensor& like) const {
    if (!router_) return at::zeros({x_TD.size(0), 1}, like.options().requires_grad(false));
    return wide_linear(x_TD, router_->weight_CD);
  }

  /// Choices in the kept cluster of rank j.
  int64_t choices_in(int64_t j) const {
    return shape_.top_k / kept_ + (j < shape_.top_k % kept_ ? 1 : 0);
  }

  /// (K,) int64: which of a token's J N candidates are chosen.
  Tensor chosen_places(at::Device device) const {
    std::vector<int64_t> places;
    for (int64_t j = 0; j < kept_; ++j)
      for (int64_t n = 0; n < choices_in(j); ++n) places.push_back(j * most_ + n);
    return at::tensor(places, at::kLong).to(device);
  }

  /// P(e | c) of the candidates, over its sum among the chosen if asked for.
  Tensor shares(const Tensor& p_TJN) const {
    if (!options_.renormalise) return p_TJN;
    Tensor chosen_JN = at::ones({kept_, most_}, p_TJN.options().requires_grad(false));
    for (int64_t j = 0; j < kept_; ++j) chosen_JN[j].slice(0, choices_in(j)).fill_(0);
    return p_TJN / (p_TJN * chosen_JN).sum(2, /*keepdim=*/true);
  }

  std::string why_part_constant() const {
    if (clusters_ > 1 && options_.renormalise_clusters && kept_ == 1)
      return concat('[', kPlaceOfHierarchical,
                    "] one cluster divided by its own sum weighs 1 for every token, so the task "
                    "loss cannot train the router of clusters. Set renormalise_clusters = false, "
                    "or keep more clusters.");
    if (shape_.num_experts > clusters_ && options_.renormalise && most_ == 1)
      return concat('[', kPlaceOfHierarchical,
                    "] one expert of a cluster divided by its own sum weighs 1 for every token, so "
                    "the task loss cannot train the clusters' routers. Set renormalise = false, or "
                    "raise top_k.");
    return "";
  }

  HierarchicalRouter options_;
  int64_t clusters_ = 0, kept_ = 0, most_ = 0;
  Tensor weight_ED_;
  std::shared_ptr<ClusterRouter> router_;
};

}  // namespace

MOE_KIND(routers, hierarchical, Hierarchical, HierarchicalRouter)

}  // namespace moe::routing
