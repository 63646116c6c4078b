// The inside of one Mixture-of-Experts layer in a plain libtorch program: who goes where, what that
// costs the balance, which parameters learn from it; then 200 steps after which each expert
// mainly serves one cluster of the data. T tokens, D width, E experts, K choices.

#include <cstdio>
#include <iostream>
#include <set>

#include <ATen/ATen.h>
#include <torch/optim/adamw.h>

#include <moe/moe.h>

namespace {

using at::Tensor;

void print_routing(const moe::Routing& routing) {
  std::printf("token   expert (weight), in the order of choice\n");
  for (int64_t t = 0; t < routing.tokens(); ++t) {
    std::printf("%5lld ", static_cast<long long>(t));
    for (int64_t n = routing.offsets[t].item<int64_t>(); n < routing.offsets[t + 1].item<int64_t>();
         ++n)
      std::printf("  %lld (%.2f)", static_cast<long long>(routing.experts_N[n].item<int64_t>()),
                  routing.weights_N[n].item<double>());
    std::printf("\n");
  }
}

/// One forward and backward pass, looked at closely. True when what must hold holds.
bool look_inside() {
  moe::MoELayer layer({.d_model = 16,
                       .num_experts = 4,
                       .top_k = 2,
                       .expert = moe::GatedExpert{.d_ff = 32},
                       .balance = {{"switch", 0.01}, {"z_loss", 1e-3}}});
  const Tensor x_TD = at::randn({6, 16});
  moe::MoEOutput out = layer->forward(x_TD);
  auto loss = at::mse_loss(out.hidden_TD, x_TD) + out.balance.loss();
  loss.backward();

  print_routing(out.routing);
  std::cout << "\npairs per expert\n"
            << out.balance.load_E << "\ndropped pairs: " << out.balance.dropped.item<double>()
            << "\n\n";
  for (const auto& term : out.balance.terms)
    std::printf("balance term %-8s %.4f, times %g\n", term.name.c_str(), term.value.item<double>(),
                term.coefficient);

  const auto parameters = layer->named_parameters();
  const Tensor router_ED = parameters["router.weight"].grad();
  const Tensor experts_E = parameters["experts.w_in"].grad().flatten(1).norm(2, 1);
  std::printf("\nlength of the gradient\n  router   %.2e\n", router_ED.norm().item<double>());
  bool idle_experts_rest = true;
  for (int64_t e = 0; e < experts_E.size(0); ++e) {
    const double length = experts_E[e].item<double>();
    std::printf("  expert %lld %.2e\n", static_cast<long long>(e), length);
    idle_experts_rest &= (length > 0) == (out.balance.load_E[e].item<double>() > 0);
  }
  return idle_experts_rest && router_ED.norm().item<double>() > 0 &&
         out.balance.load_E.sum().item<double>() == 12;
}

/// Tokens of four clusters, each with a linear map of its own to learn.
struct Clusters {
  Tensor centers_CD = 4 * at::eye(16).narrow(0, 0, 4);
  Tensor maps_CDD = at::randn({4, 16, 16}) / 4;

  /// Tokens, their targets and their clusters.
  std::tuple<Tensor, Tensor, Tensor> draw(int64_t tokens) const {
    const Tensor cluster_T = at::randint(4, {tokens}, at::kLong);
    const Tensor x_TD = centers_CD.index_select(0, cluster_T) + 0.5 * at::randn({tokens, 16});
    const Tensor y_TD = at::einsum("td,tdf->tf", {x_TD, maps_CDD.index_select(0, cluster_T)});
    return {x_TD, y_TD, cluster_T};
  }
};

/// Prints how each cluster's tokens spread over the experts. Returns the share of tokens that went
/// to their cluster's main expert, or 0 when two clusters share theirs.
double print_division(const Tensor& experts_T, const Tensor& cluster_T) {
  std::printf("cluster   expert 0   expert 1   expert 2   expert 3\n");
  double at_home = 0;
  std::set<int64_t> main_experts;
  for (int64_t c = 0; c < 4; ++c) {
    const Tensor counts_E = at::bincount(experts_T.masked_select(cluster_T.eq(c)), {}, 4);
    std::printf("%7lld", static_cast<long long>(c));
    for (int64_t e = 0; e < 4; ++e)
      std::printf("%11lld", static_cast<long long>(counts_E[e].item<int64_t>()));
    std::printf("\n");
    at_home += counts_E.max().item<double>();
    main_experts.insert(counts_E.argmax().item<int64_t>());
  }
  return main_experts.size() == 4 ? at_home / static_cast<double>(experts_T.size(0)) : 0;
}

/// Trains one layer on the clusters. True when each expert ends up with a cluster of its own.
///
/// Experts divide their work when that pays and nothing tempts them to share: these are narrow (8
/// hidden units for 16 outputs) and the balance term is strong. This setting is the best of some
/// forty tried; on thirty seeds not used for that choice 89 to 100 % of the tokens met their
/// cluster's expert. With 32 hidden units or a coefficient of 0.02 two clusters often share one.
bool learn_to_divide() {
  moe::MoELayer layer({.d_model = 16,
                       .num_experts = 4,
                       .top_k = 1,
                       .router = moe::SwitchRouter{},
                       .expert = moe::GatedExpert{.d_ff = 8},
                       .balance = {{"switch", 0.3}}});
  torch::optim::AdamW optimizer(layer->parameters(), torch::optim::AdamWOptions(3e-3));
  const Clusters clusters;
  double first = 0, last = 0;
  for (int step = 0; step < 200; ++step) {
    const auto [x_TD, y_TD, cluster_T] = clusters.draw(256);
    const auto out = layer->forward(x_TD);
    const Tensor error = at::mse_loss(out.hidden_TD, y_TD);
    optimizer.zero_grad();
    (error + out.balance.loss()).backward();
    optimizer.step();
    last = error.item<double>();
    if (step == 0) first = last;
    if (step % 50 == 0 || step == 199) std::printf("step %3d  error %.4f\n", step, last);
  }
  layer->eval();
  const auto [x_TD, y_TD, cluster_T] = clusters.draw(1024);
  std::printf("\n");
  const double share = print_division(layer->forward(x_TD).routing.experts_N, cluster_T);
  std::printf("\n%.1f %% of the tokens meet the expert that mainly serves their cluster\n",
              100 * share);
  return share > 0.8 && last < first / 3;
}

}  // namespace

int main() {
  try {
    at::manual_seed(1);
    const bool sound = look_inside();
    std::printf("\nfour clusters, four experts, one choice\n");
    const bool divided = learn_to_divide();
    if (sound && divided) return 0;
    std::fprintf(stderr, "error: the layer did not do what this example shows\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
  }
  return 1;
}
