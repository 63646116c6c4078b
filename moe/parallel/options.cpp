#include <charconv>
#include <cmath>

#include <moe/base/error.h>
#include <moe/parallel/chunks.h>
#include <moe/parallel/options.h>
#include <moe/parallel/row_format.h>

namespace moe::parallel {

void ParallelOptions::validate(const std::string& place) const {
  check<ConfigError>(experts >= 0, "config", "expected '", place,
                     ".experts' to be at least 0, got ", experts, ". Correct it.");
  check<ConfigError>(data == "rest" || copies() > 0, "config", "expected '", place,
                     ".data' to be \"rest\" or a number of at least 1 as text, got \"", data,
                     "\". Correct it.");
  parse_row_format(exchange, place + ".exchange");
  [[maybe_unused]] const Chunks refuses(chunks, place + ".chunks");
  check_one_of("config", place + ".route", route, {"direct", "machines"});
  check<ConfigError>(std::isfinite(timeout) && timeout > 0, "config", "expected '", place,
                     ".timeout' to be a number of seconds above 0, got ", timeout, ". Correct it.");
  // Below a few signs of life a busy machine looks like a dead one.
  check<ConfigError>(std::isfinite(silence) && silence >= 2, "config", "expected '", place,
                     ".silence' to be at least 2 seconds, got ", silence, ". Correct it.");
}

int64_t ParallelOptions::copies() const {
  int64_t out = 0;
  const auto end = data.data() + data.size();
  const auto [stop, problem] = std::from_chars(data.data(), end, out);
  return problem == std::errc() && stop == end ? out : 0;
}

}  // namespace moe::parallel
