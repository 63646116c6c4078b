// A user-defined expert, known by name from then on: a low-rank correction x + w_out w_in x. What
// it must do is turn rows, which come sorted by expert, into rows; products, gradients and ranks
// are taken care of. Shown: its parameters, a token's output computed by hand, and four experts
// that learn four such corrections. T tokens, R rows, D width, F rank, E experts.

#include <cstdio>
#include <string>

#include <ATen/ATen.h>
#include <torch/optim/adamw.h>

#include <moe/layers/moe_layer.h>
#include <moe/ops/grouped.h>
#include <moe/ops/rows.h>
#include <moe/routing/routers.h>

namespace {

using at::Tensor;

struct LowRankOptions {
  bool residual = true;

  template <class Visitor>
  void fields(Visitor& v) {
    v("residual", residual, "add the input to the output");
  }
};

/// out = w_out (w_in x), plus x with `residual`; w_in (L, F, D), w_out (L, D, F).
class LowRankExperts final : public moe::experts::Experts {
 public:
  LowRankExperts(const moe::experts::ExpertsShape& shape, const LowRankOptions& options)
      : Experts(shape), options_(options) {
    // Experts on dimension 0, where ranks shard them: stacked() says so.
    const int64_t L = shape.held(), D = shape.d_model, F = shape.d_ff;
    w_in_ = add_parameter("w_in", {L, F, D}, stacked(moe::Role::kMatrix));
    w_out_ = add_parameter("w_out", {L, D, F}, stacked(moe::Role::kMatrix));
  }

  Tensor forward(const moe::ExpertRows& rows, const moe::LayerContext&) override {
    const Tensor inner_RF =
        moe::ops::grouped_matmul(rows.source_SD, rows.index_R, rows.offsets_L, w_in_, {});
    const Tensor out_RD = moe::ops::grouped_matmul(inner_RF, {}, rows.offsets_L, w_out_, {});
    if (!options_.residual) return out_RD;
    // Without an index the rows are those of the source.
    const bool indexed = rows.index_R.defined();
    return out_RD +
           (indexed ? moe::ops::gather_rows(rows.source_SD, rows.index_R) : rows.source_SD);
  }

  int64_t flops_per_row() const override { return 4 * shape_.d_model * shape_.d_ff; }

 private:
  LowRankOptions options_;
  Tensor w_in_, w_out_;
};

moe::MoELayer make_layer(int64_t top_k, double balance, const moe::Table& options = {}) {
  return moe::MoELayer(
      moe::MoELayerOptions{.d_model = 12,
                           .num_experts = 4,
                           .top_k = top_k,
                           .router = moe::TopKRouter{.renormalise = top_k > 1},
                           .expert = {.kind = "low_rank_correction", .d_ff = 2, .options = options},
                           .balance = {{"switch", balance}}});
}

/// True when the layer's output for a token is the sum that its formula says.
bool agrees_with_the_formula() {
  moe::MoELayer layer = make_layer(2, 0.01);
  for (const auto& item : layer->named_parameters())
    std::printf("  %-14s %s\n", item.key().c_str(), moe::concat(item.value().sizes()).c_str());
  const auto p = layer->named_parameters();
  const Tensor x_TD = at::randn({5, 12});
  const moe::MoEOutput out = layer->forward(x_TD);
  Tensor expected_D = at::zeros({12});
  for (int64_t choice = 0; choice < 2; ++choice) {  // token 0 has the first two pairs
    const int64_t e = out.routing.experts_N[choice].item<int64_t>();
    const Tensor y_D = x_TD[0] + p["experts.w_out"][e].mv(p["experts.w_in"][e].mv(x_TD[0]));
    expected_D = expected_D + out.routing.weights_N[choice] * y_D;
    std::printf("token 0, choice %lld: expert %lld with weight %.3f\n",
                static_cast<long long>(choice), static_cast<long long>(e),
                out.routing.weights_N[choice].item<double>());
  }
  const double difference = (out.hidden_TD[0] - expected_D).abs().max().item<double>();
  std::printf("largest difference from the sum by hand: %.1e\n\n", difference);
  return difference < 1e-5;
}

/// True when a misspelt option is refused by name.
bool refuses_what_it_does_not_know() {
  moe::Table options;
  options.set("residuals", false);
  try {
    make_layer(2, 0.01, options);
  } catch (const moe::ConfigError& error) {
    std::printf("%s\n\n", error.what());
    return true;
  }
  return false;
}

/// Tokens of four clusters, each to be corrected by a map of rank 2 of its own. True when the error
/// falls below a fifth of what doing nothing costs.
bool learns() {
  moe::MoELayer layer = make_layer(1, 0.3);
  torch::optim::AdamW optimizer(layer->parameters(), torch::optim::AdamWOptions(1e-2));
  const Tensor centers_CD = 4 * at::eye(12).narrow(0, 0, 4);
  const Tensor maps_CDD = at::matmul(at::randn({4, 12, 2}), at::randn({4, 2, 12})) / 4;
  double error = 0, nothing = 0;
  for (int step = 0; step <= 400; ++step) {
    const Tensor cluster_T = at::randint(4, {256}, at::kLong);
    const Tensor x_TD = centers_CD.index_select(0, cluster_T) + 0.5 * at::randn({256, 12});
    const Tensor y_TD =
        x_TD + at::einsum("td,tdf->tf", {x_TD, maps_CDD.index_select(0, cluster_T)});
    const auto out = layer->forward(x_TD);
    const Tensor loss = at::mse_loss(out.hidden_TD, y_TD);
    optimizer.zero_grad();
    (loss + out.balance.loss()).backward();
    optimizer.step();
    error = loss.item<double>(), nothing = at::mse_loss(x_TD, y_TD).item<double>();
    if (step % 100 == 0)
      std::printf("step %3d  error %.3f  (doing nothing: %.3f)\n", step, error, nothing);
  }
  return error < nothing / 5;
}

}  // namespace

int main() {
  try {
    at::manual_seed(1);
    moe::experts::expert_kinds().add<LowRankExperts, LowRankOptions>(
        "low_rank_correction", "x + w_out w_in x of rank d_ff");
    std::printf("parameters of a layer of four such experts\n");
    const bool right = agrees_with_the_formula(), strict = refuses_what_it_does_not_know();
    if (learns() && right && strict) return 0;
    std::fprintf(stderr, "error: the expert did not do what this example shows\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
  }
  return 1;
}
