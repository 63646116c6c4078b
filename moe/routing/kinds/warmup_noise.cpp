// T tokens, D model width, E experts, K choices per token.
#include <moe/routing/finish.h>
#include <moe/routing/kinds/warmup_noise.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/softmax_rule.h>

namespace moe {

void WarmupNoiseRouter::validate(const std::string&) const {
  const char* place = "routing/warmup_noise";
  check<ConfigError>(noise >= 0, place, "expected noise >= 0, got ", noise, ". 0 draws none.");
  check<ConfigError>(noise_steps >= 0, place, "expected noise_steps >= 0, got ", noise_steps,
                     ". Use 0 for no noise.");
  check_one_of(place, "decay", decay, {"constant", "linear"});
  routing::SoftmaxRule::of(*this).validate(place);
}

}  // namespace moe

namespace moe::routing {

namespace {

/// "Random routing" early in training: SoftmaxRule on l + sigma * N(0, 1), where sigma = noise, or
/// noise
/// * (1 - step / noise_steps), for steps before noise_steps of a training run, and 0 ever after.
///
/// scores_TE is softmax(l), without noise; noisy_logits_TE and noise_std_TE are set while there is
/// noise.
class WarmupNoise final : public LinearRouter {
 public:
  WarmupNoise(const RouterShape& shape, const WarmupNoiseRouter& options)
      : LinearRouter(shape, options.bias), options_(options), rule_(SoftmaxRule::of(options)) {
    set_untrained(why_constant(shape, rule_.weights_sum_to_one(), "routing/warmup_noise",
                               rule_.settings_of_raw_weights()));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    return choose_with_noise(logits(x_TD), noise_std(context), shape_.top_k, rule_, context);
  }

 private:
  double noise_std(const LayerContext& context) const {
    const auto step = static_cast<double>(context.random.step);
    const auto steps = static_cast<double>(options_.noise_steps);
    if (!context.training || step >= steps) return 0;
    return options_.decay == "linear" ? options_.noise * (1 - step / steps) : options_.noise;
  }

  WarmupNoiseRouter options_;
  SoftmaxRule rule_;
};

}  // namespace

MOE_KIND(routers, warmup_noise, WarmupNoise, WarmupNoiseRouter)

}  // namespace moe::routing
