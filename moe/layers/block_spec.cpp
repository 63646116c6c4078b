#include <cmath>

#include <moe/base/error.h>
#include <moe/layers/block.h>
#include <moe/layers/moe_options.h>

namespace moe::layers {

namespace {

const std::vector<std::string> kNormPositions = {"pre", "post", "output", "both", "residual"};

void check_finite(const std::string& place, const char* key, double value) {
  check<ConfigError>(std::isfinite(value), "config", "expected '", place, '.', key,
                     "' to be finite, got ", value, ". Correct it.");
}

}  // namespace

void BlockSpec::validate(const std::string& place) const {
  check_one_of("config", concat(place, ".norm"), norm, norm_kinds());
  check_one_of("config", concat(place, ".norm_position"), norm_position, kNormPositions);
  if (!feed_forward_norm_position.empty())
    check_one_of("config", concat(place, ".feed_forward_norm_position"), feed_forward_norm_position,
                 kNormPositions);
  check<ConfigError>(std::isfinite(norm_epsilon) && norm_epsilon >= 0, "config", "expected '",
                     place, ".norm_epsilon' to be finite and at least 0, got ", norm_epsilon,
                     ". Correct it.");
  check<ConfigError>(dropout >= 0 && dropout < 1, "config", "expected '", place,
                     ".dropout' in [0, 1), got ", dropout, ". Correct it.");
  check_finite(place, "mixer_scale", mixer_scale);
  check_finite(place, "feed_forward_scale", feed_forward_scale);
  check_finite(place, "mixer_residual", mixer_residual);
  check_finite(place, "feed_forward_residual", feed_forward_residual);
  check_one_of("config", concat(place, ".wiring"), wiring,
               {"sequential", "parallel", "dense_beside", "shortcut", "cross"});
  cross.validate(concat(place, ".cross"));
  check<ConfigError>((wiring == "cross") == (cross.heads > 0), "config", "expected '", place,
                     ".cross.heads' above 0 with wiring = \"cross\" alone, got ", cross.heads,
                     " with \"", wiring, "\". Set both or none.");
  const bool has_dense = wiring == "dense_beside" || wiring == "shortcut";
  check<ConfigError>(has_dense || !is_present(dense), "config", "expected no '", place,
                     ".dense' with wiring = \"", wiring,
                     "\", got one, which nothing would use. Leave it out, or set wiring = "
                     "\"dense_beside\" or \"shortcut\".");
  if (wiring == "sequential") return;
  check<ConfigError>(norm_position == "pre" && (feed_forward_norm_position.empty() ||
                                                feed_forward_norm_position == "pre"),
                     "config", "expected '", place, ".norm_position' = \"pre\" with wiring = \"",
                     wiring, "\", got \"", norm_position, "\" and \"", feed_forward_norm_position,
                     "\". Leave the positions out.");
  const bool weighs = mixer_scale != 1 || feed_forward_scale != 1 || mixer_residual != 1 ||
                      feed_forward_residual != 1;
  check<ConfigError>(!weighs || wiring == "parallel", "config",
                     "expected scales and residuals of 1 "
                     "in '",
                     place, "' with wiring = \"", wiring, "\", got others. Leave them out.");
}

void BlockSpec::resolve() {
  mixer.resolve();
  feed_forward.resolve();
  if (wiring == "dense_beside" || wiring == "shortcut") dense.resolve();
}

}  // namespace moe::layers
