// T tokens, D model width, E experts.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros_like.h>

#include <moe/ops/order.h>
#include <moe/ops/sums.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/dynmoe.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void DynMoERouter::validate(const std::string&) const {
  const char* place = "routing/dynmoe";
  check_one_of(place, "at_least_one", at_least_one, {"always", "evaluation"});
  check<ConfigError>(std::isfinite(temperature) && temperature >= 0.01, place,
                     "expected temperature to be finite and at least 0.01, got ", temperature,
                     ". DynMoE uses 1 for language and 0.1 for images.");
  check<ConfigError>(start_experts >= 0 && update_every >= 0, place,
                     "expected start_experts and update_every of at least 0, got ", start_experts,
                     " and ", update_every, ". Correct them.");
}

}  // namespace moe

namespace moe::routing {

namespace {

/// DynMoE (Guo et al. 2024, arXiv 2405.14297): s_te = sigmoid(cos(x_t, w_e) / temperature); token t
/// goes to every active expert with s_te > sigmoid(G_e / temperature), in the order of ids, or to
/// its best active one where none passes. Each of k experts weighs 1/k.
///
/// The weights are steps; their gradient goes straight through: d weight_te / d (s_te - sigmoid(G_e
/// / temperature)) = 1/k for the experts that were chosen. Parameters: "weight" (E, D), the
/// experts' embeddings, and "threshold" (E), G. scores_TE is s, 0 for experts that are not active.
///
/// Which experts are active is the buffer "active" (E) int64. Every `update_every` steps those
/// leave that got no token since the last time (the last one stays), and if any token passed no
/// threshold the first expert that is not active comes in: its embedding is the direction of the
/// sum of those tokens, its threshold 0, and its matrices what they were; started_anew() names it,
/// so that its optimizer state starts at zero. What happened since is kept in "used" (E) int64,
/// "unserved" (D + 1) float64 (their sum and number) and "steps" () int64.
class DynMoE final : public Router {
 public:
  DynMoE(const RouterShape& shape, const DynMoERouter& options) : Router(shape), options_(options) {
    const int64_t D = shape.d_model, E = shape.num_experts;
    check<ConfigError>(options.start_experts <= E, "routing/dynmoe",
                       "expected start_experts of at most num_experts=", E, ", got ",
                       options.start_experts, ". Lower it, or add experts.");
    weight_ED_ = add_parameter("weight", {E, D}, {.role = Role::kScores, .per_expert = true});
    threshold_E_ = add_parameter("threshold", {E}, {.role = Role::kBias, .per_expert = true});
    const int64_t first = options.start_experts > 0 ? options.start_experts : E;
    const auto start = [first](const Tensor& active_E, const RandomStream&) {
      active_E.zero_();
      active_E.slice(0, 0, first).fill_(1);
    };
    active_E_ = add_buffer("active", {E}, at::kLong, {.per_expert = true, .start = start});
    used_E_ = add_buffer("used", {E}, at::kLong, {.per_expert = true});
    unserved_ = add_buffer("unserved", {D + 1}, at::kDouble);
    steps_ = add_buffer("steps", {}, at::kLong);
  }

  bool takes_top_k() const override { return false; }
  double active_experts() const override { return static_cast<double>(shape_.num_experts); }
  bool estimates_gradient() const override { return true; }
  std::vector<int64_t> started_anew() const override { return started_anew_; }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const auto type = wide_type(x_TD, weight_ED_);
    const double sharpness = 1 / options_.temperature;
    const Tensor logits_TE =
        wide_linear(unit_rows(x_TD.to(type)), unit_rows(weight_ED_.to(type))) * sharpness;
    const Tensor s_TE = at::sigmoid(logits_TE);
    const Tensor above_TE = s_TE - at::sigmoid(threshold_E_.to(type) * sharpness);

    const Tensor active_E = active_E_.to(logits_TE.device()).ne(0);
    const Tensor passes_TE = above_TE.detach().gt(0).logical_and(active_E);
    const Tensor none_T1 = passes_TE.any(1, /*keepdim=*/true).logical_not();
    const bool one_at_least = !context.training || options_.at_least_one == "always";
    const Tensor chosen_TE =
        one_at_least ? passes_TE.logical_or(best(s_TE, active_E).logical_and(none_T1)) : passes_TE;

    const Tensor k_T1 = chosen_TE.sum(1, /*keepdim=*/true).clamp_min(1).to(type);
    const Tensor weights_TE = (1 + (above_TE - above_TE.detach())) / k_T1;
    const Tensor experts_TE =
        at::arange(shape_.num_experts, chosen_TE.options().dtype(at::kLong)).expand_as(chosen_TE);
    Routing routing = finish_ragged(experts_TE, weights_TE, chosen_TE, logits_TE,
                                    s_TE * active_E.to(type), context);
    if (context.training && options_.update_every > 0) routing.record_R = unserved(x_TD, none_T1);
    return routing;
  }

  void end_step(const StepStatistics& statistics) override {
    started_anew_.clear();
    if (options_.update_every == 0 || !weight_ED_.requires_grad()) return;
    check(statistics.record_R.defined(), "routing/dynmoe",
          "expected what the forward passes recorded, got none. Set StepStatistics::record_R.");
    const at::NoGradGuard no_grad;
    used_E_.add_(statistics.counts_E.to(used_E_.device()));
    unserved_.add_(statistics.record_R.to(unserved_.device()));
    steps_.add_(1);
    if (steps_.item<int64_t>() % options_.update_every == 0) let_experts_come_and_go();
  }

 private:
  /// (T, E) bool: the best active expert of each token.
  static Tensor best(const Tensor& s_TE, const Tensor& active_E) {
    const Tensor known_TE = s_TE.detach().nan_to_num(0).masked_fill(active_E.logical_not(), -1);
    return at::zeros_like(known_TE, known_TE.options().dtype(at::kBool))
        .scatter(1, ops::topk(known_TE, 1).second, true);
  }

  /// The sum of the tokens that passed no threshold, and their number.
  static Tensor unserved(const Tensor& x_TD, const Tensor& none_T1) {
    const Tensor x = x_TD.detach().to(at::kDouble).nan_to_num(0, 0, 0);
    const Tensor none = none_T1.to(at::kDouble);
    return ops::column_sums(at::cat({x * none, none}, 1));
  }

  void let_experts_come_and_go() {
    const Tensor stays_E = active_E_.ne(0).logical_and(used_E_.gt(0));
    if (stays_E.any().item<bool>()) active_E_.copy_(stays_E);
    const int64_t D = shape_.d_model;
    const Tensor free_E = active_E_.eq(0), sum_D = unserved_.slice(0, 0, D);
    const Tensor length = at::linalg_vector_norm(sum_D);
    if (free_E.any().item<bool>() && length.item<double>() > 0) {
      const int64_t expert = free_E.to(at::kLong).argmax().item<int64_t>();
      active_E_.select(0, expert).fill_(1);
      weight_ED_.select(0, expert).copy_(sum_D / length);
      threshold_E_.select(0, expert).zero_();
      started_anew_ = {expert};
    }
    used_E_.zero_();
    unserved_.zero_();
  }

  DynMoERouter options_;
  Tensor weight_ED_, threshold_E_, active_E_, used_E_, unserved_, steps_;
  std::vector<int64_t> started_anew_;
};

}  // namespace

MOE_KIND(routers, dynmoe, DynMoE, DynMoERouter)

}  // namespace moe::routing
