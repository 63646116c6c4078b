#include <algorithm>
#include <cmath>
#include <tuple>
#include <type_traits>

#include <moe/models/model.h>
#include <moe/train/options.h>

namespace moe::train {

namespace {

template <class Number>
void at_least(const std::string& place, const char* key, Number value, Number least) {
  const char* const finite = std::is_floating_point_v<Number> ? "finite and " : "";
  check<ConfigError>(value >= least && std::isfinite(static_cast<double>(value)), "config",
                     "expected '", place, '.', key, "' to be ", finite, "at least ", least,
                     ", got ", value, ". Correct it.");
}

}  // namespace

void ParameterGroup::validate(const std::string& place) const {
  check<ConfigError>(!match.empty(), "config", "expected '", place,
                     ".match' to be a pattern of parameter names, got none. Set it.");
  for (auto expert = experts.begin(); expert != experts.end(); ++expert) {
    check<ConfigError>(*expert >= 0, "config", "expected '", place,
                       ".experts' to be numbers from 0, got ", *expert, ". Correct it.");
    check<ConfigError>(std::find(experts.begin(), expert, *expert) == expert, "config",
                       "expected '", place, ".experts' to name an expert once, got ", *expert,
                       " twice. Leave one out.");
  }
  at_least(place, "lr_factor", lr_factor, 0.0);
  check<ConfigError>(weight_decay >= 0 || weight_decay == -1, "config", "expected '", place,
                     ".weight_decay' to be at least 0, or -1 to leave it, got ", weight_decay,
                     ". Correct it.");
}

void OptimizerOptions::validate(const std::string& place) const {
  at_least(place, "lr", lr, 0.0);
  at_least(place, "weight_decay", weight_decay, 0.0);
  at_least(place, "clip", clip, 0.0);
  at_least(place, "expert_lr_factor", expert_lr_factor, 0.0);
  at_least(place, "router_lr_factor", router_lr_factor, 0.0);
  at_least(place, "router_warmup", router_warmup, int64_t{0});
  rule.validate(place);
}

void ScheduleOptions::validate(const std::string& place) const {
  check_one_of("config", concat("'", place, ".kind'"), kind,
               {"constant", "linear", "cosine", "wsd"});
  at_least(place, "warmup", warmup, int64_t{0});
  at_least(place, "steps", steps, int64_t{0});
  check<ConfigError>(final_share >= 0 && final_share <= 1 && decay_share >= 0 && decay_share <= 1,
                     "config", "expected '", place, ".final_share' and '", place,
                     ".decay_share' in [0, 1], got ", final_share, " and ", decay_share,
                     ". Correct them.");
}

void ConsistencyOptions::validate(const std::string& place) const {
  at_least(place, "coefficient", coefficient, 0.0);
  check<ConfigError>(std::isfinite(coefficient), "config", "expected '", place,
                     ".coefficient' to be finite, got ", coefficient, ". Correct it.");
}

void MonitorOptions::validate(const std::string& place) const {
  at_least(place, "unused_steps", unused_steps, int64_t{0});
  at_least(place, "overload", overload, 0.0);
  at_least(place, "every", every, int64_t{1});
}

void TensorBoardOptions::validate(const std::string& place) const {
  at_least(place, "sample_tokens", sample_tokens, int64_t{0});
}

void TrainOptions::validate(const std::string& place) const {
  check_one_of("config", concat("'", place, ".dtype'"), dtype, {"float32", "bfloat16", "float64"});
  models::parse_recompute(recompute, concat("'", place, ".recompute'"));
  check_one_of("config", concat("'", place, ".on_nan'"), on_nan, {"skip", "rollback", "stop"});
  for (const auto& [key, value] : {std::pair{"steps", steps}, std::pair{"batch", batch},
                                   std::pair{"accumulation", accumulation},
                                   std::pair{"log_every", log_every}, std::pair{"keep", keep}})
    at_least(place, key, value, int64_t{1});
  for (const auto& [key, value] :
       {std::pair{"threads", threads}, std::pair{"eval_every", eval_every},
        std::pair{"checkpoint_every", checkpoint_every}, std::pair{"early_stop", early_stop},
        std::pair{"max_bad_steps", max_bad_steps}})
    at_least(place, key, value, int64_t{0});
  for (const auto& [key, value, most] : {std::tuple{"batch", batch, int64_t{1} << 20},
                                         std::tuple{"accumulation", accumulation, int64_t{1} << 18},
                                         std::tuple{"steps", steps, int64_t{1} << 40},
                                         std::tuple{"threads", threads, int64_t{4096}}})
    check<ConfigError>(value <= most, "config", "expected '", place, '.', key, "' of at most ",
                       most, ", got ", value, ". Lower it.");
  check<ConfigError>(eval_batches >= 1 || eval_batches == -1, "config", "expected '", place,
                     ".eval_batches' to be at least 1, or -1 for all, got ", eval_batches,
                     ". Use eval_every = 0 for no evaluation but the last.");
}

void RunOptions::validate(const std::string&) const {
  // Every token of a run has a number, and rates are taken of a few times as many.
  constexpr int64_t kMostTokens = int64_t{1} << 60;
  const bool text =
      std::ranges::any_of(data.domains, [](const auto& domain) { return domain.is_text(); });
  int64_t tokens = 1;
  bool fits = true;
  for (const int64_t factor :
       {train.steps, train.accumulation, train.batch, text ? data.sequence : int64_t{1}})
    fits = fits && !__builtin_mul_overflow(tokens, factor, &tokens) && tokens <= kMostTokens;
  check<ConfigError>(
      fits, "config", "expected a run of at most 2^60 tokens, got train.steps=", train.steps,
      " of train.accumulation=", train.accumulation, " times train.batch=", train.batch,
      " rows of ", text ? data.sequence : 1, ". Lower one of them.");
}

}  // namespace moe::train
