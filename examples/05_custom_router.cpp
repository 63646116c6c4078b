// A user-defined router, registered at run time: every expert has a place in the space of tokens,
// and a token goes to the experts nearest to it. Shown: what the program then knows of it, and
// places that part while the layer learns, until each cluster of the data has its own expert.
// T tokens, D width, E experts, K choices.

#include <cstdio>
#include <iostream>

#include <ATen/ATen.h>
#include <torch/optim/adamw.h>

#include <moe/layers/moe_layer.h>
#include <moe/ops/order.h>
#include <moe/routing/finish.h>

namespace {

using at::Tensor;

struct NearestOptions {
  double sharpness = 1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("sharpness", sharpness,
      "the higher, the more the nearest expert's weight exceeds the others'");
  }
  void validate(const std::string& place) const {
    moe::check<moe::ConfigError>(sharpness > 0, "config", "expected '", place,
                                 "sharpness' above 0, got ", sharpness, ". Raise it.");
  }
};

/// l_te = -sharpness/2 |x_t - c_e|^2; the K largest of softmax(l), weighted by it. Parameter
/// "weight" (E, D): the experts' places c.
class NearestRouter final : public moe::routing::Router {
 public:
  NearestRouter(const moe::routing::RouterShape& shape, const NearestOptions& options)
      : Router(shape), sharpness_(options.sharpness) {
    places_ED_ = add_parameter("weight", {shape.num_experts, shape.d_model},
                               {.role = moe::Role::kScores, .per_expert = true});
  }

  moe::Routing forward(const Tensor& x_TD, const moe::LayerContext& context) override {
    moe::check(x_TD.dim() == 2 && x_TD.size(1) == shape_.d_model, "nearest",
               "expected x of shape (T, D=", shape_.d_model, "), got ", x_TD.sizes(), ".");
    const auto type = at::promoteTypes(x_TD.scalar_type(), at::kFloat);  // never in 16 bits
    const Tensor x = x_TD.to(type), c = places_ED_.to(type);
    const Tensor logits_TE =
        sharpness_ * (x.matmul(c.t()) - c.square().sum(1) / 2 - x.square().sum(1, true) / 2);
    const Tensor scores_TE = at::softmax(logits_TE, 1);
    const auto [weights_TK, experts_TK] = moe::ops::topk(scores_TE, shape_.top_k);
    return moe::routing::finish_fixed(experts_TK, weights_TK, logits_TE, scores_TE, context);
  }

 private:
  double sharpness_;
  Tensor places_ED_;
};

/// What configuration files and `--help` of a program with this router would know.
void print_what_is_known() {
  const auto entry = moe::routing::routers().at("nearest");
  std::printf("nearest: %s\n", entry.help.c_str());
  for (const auto& option : entry.fields())
    std::printf("  %s = %s (%s) %s\n", option.name.c_str(), option.value.c_str(),
                option.type.c_str(), option.help.c_str());
  try {
    moe::routing::routers().at("nearst");
  } catch (const moe::ConfigError& error) {
    std::printf("asked for nearst: %s\n\n", error.what());
  }
}

/// Four clusters in the plane, each with its own answer. True when in the end each has an expert.
bool learns() {
  moe::Table options;
  options.set("sharpness", 0.5);
  moe::MoELayer layer(moe::MoELayerOptions{.d_model = 2,
                                           .num_experts = 4,
                                           .top_k = 1,
                                           .router = {.kind = "nearest", .options = options},
                                           .expert = {.kind = "gated", .d_ff = 4},
                                           .balance = {{"switch", 0.3}},
                                           .init = {.router_std = 0.5}});
  const Tensor centers_C2 =
      at::tensor({3.0f, 1.0f, -1.0f, 3.0f, -3.0f, -1.0f, 1.0f, -3.0f}).view({4, 2});
  torch::optim::AdamW optimizer(layer->parameters(), torch::optim::AdamWOptions(2e-2));
  double first = 0, last = 0;
  for (int step = 0; step <= 400; ++step) {
    const Tensor cluster_T = at::randint(4, {256}, at::kLong);
    const Tensor x_TD = centers_C2.index_select(0, cluster_T) + 0.4 * at::randn({256, 2});
    const Tensor y_TD =
        centers_C2.roll(1, 0).index_select(0, cluster_T);  // the next cluster's centre
    const auto out = layer->forward(x_TD);
    const Tensor error = at::mse_loss(out.hidden_TD, y_TD);
    optimizer.zero_grad();
    (error + out.balance.loss()).backward();
    optimizer.step();
    last = error.item<double>();
    if (step == 0) first = last;
    if (step % 100 == 0) std::printf("step %3d  error %.3f\n", step, last);
  }
  const Tensor places_ED = layer->named_parameters()["router.weight"].detach();
  const Tensor chosen_C = layer->forward(centers_C2).routing.experts_N;
  std::printf("\ncentre of the cluster   its expert   the expert's place\n");
  for (int64_t c = 0; c < 4; ++c) {
    const int64_t e = chosen_C[c].item<int64_t>();
    std::printf("       (%4.1f, %4.1f) %12lld        (%4.1f, %4.1f)\n",
                centers_C2[c][0].item<double>(), centers_C2[c][1].item<double>(),
                static_cast<long long>(e), places_ED[e][0].item<double>(),
                places_ED[e][1].item<double>());
  }
  return at::bincount(chosen_C, {}, 4).eq(1).all().item<bool>() && last < first / 4;
}

}  // namespace

int main() {
  try {
    at::manual_seed(1);
    moe::routing::routers().add<NearestRouter, NearestOptions>("nearest",
                                                               "the experts nearest to the token");
    print_what_is_known();
    if (learns()) return 0;
    std::fprintf(stderr, "error: the router did not do what this example shows\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
  }
  return 1;
}
