// T tokens, D model width, E experts, K choices per token.
#include <moe/routing/finish.h>
#include <moe/routing/linear_router.h>
#include <moe/routing/softmax_rule.h>

namespace moe::routing {

namespace {

struct WarmupNoiseOptions {
  double noise = 1;
  int64_t noise_steps = 1000;
  std::string decay = "constant";
  SoftmaxRule rule;
  bool bias = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("noise", noise, "standard deviation of the noise on the logits at step 0");
    v("noise_steps", noise_steps, "training steps with noise; none is drawn from this step on");
    v("decay", decay,
      "over these steps the standard deviation is \"constant\", or falls to 0 along a line: "
      "\"linear\"");
    rule.fields(v);
    v("bias", bias, "add a learned bias to the logits");
  }

  void validate(const std::string&) const {
    const char* place = "routing/warmup_noise";
    check<ConfigError>(noise >= 0, place, "expected noise >= 0, got ", noise, ". 0 draws none.");
    check<ConfigError>(noise_steps >= 0, place, "expected noise_steps >= 0, got ", noise_steps,
                       ". Use 0 for no noise.");
    check_one_of(place, "decay", decay, {"constant", "linear"});
    rule.validate(place);
  }
};

/// R5, "random routing" early in training: R1 on l + sigma * N(0, 1), where sigma = noise, or noise
/// * (1 - step / noise_steps), for steps before noise_steps of a training run, and 0 ever after.
///
/// scores_TE is softmax(l), without noise; noisy_logits_TE and noise_std_TE are set while there is
/// noise.
class WarmupNoiseRouter final : public LinearRouter {
 public:
  WarmupNoiseRouter(const RouterShape& shape, const WarmupNoiseOptions& options)
      : LinearRouter(shape, options.bias), options_(options) {
    warn_if_constant(shape, options.rule.weights_sum_to_one(), "routing/warmup_noise");
  }

  Routing forward(const Tensor& x_TD, const RoutingContext& context) override {
    return choose_with_noise(logits(x_TD), noise_std(context), shape_.top_k, options_.rule,
                             context);
  }

 private:
  double noise_std(const RoutingContext& context) const {
    const auto step = static_cast<double>(context.random.step);
    const auto steps = static_cast<double>(options_.noise_steps);
    if (!context.training || step >= steps) return 0;
    return options_.decay == "linear" ? options_.noise * (1 - step / steps) : options_.noise;
  }

  WarmupNoiseOptions options_;
};

}  // namespace

}  // namespace moe::routing

MOE_ROUTER(warmup_noise, WarmupNoiseRouter, WarmupNoiseOptions)
