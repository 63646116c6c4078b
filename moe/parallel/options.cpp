#include <cmath>

#include <moe/base/error.h>
#include <moe/parallel/options.h>

namespace moe::parallel {

void ParallelOptions::validate(const std::string& place) const {
  check<ConfigError>(std::isfinite(timeout) && timeout > 0, "config", "expected '", place,
                     ".timeout' to be a number of seconds above 0, got ", timeout, ". Correct it.");
  // Below a few signs of life a busy machine looks like a dead one.
  check<ConfigError>(std::isfinite(silence) && silence >= 2, "config", "expected '", place,
                     ".silence' to be at least 2 seconds, got ", silence, ". Correct it.");
}

}  // namespace moe::parallel
