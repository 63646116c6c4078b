#pragma once
// Repeated timings of pieces of work, in turn.

#include <optional>
#include <vector>

#include "tools/moe/bench_work.h"

namespace moe::tools {

/// One call of a piece of work.
struct Sample {
  double ms = 0;
  /// Share of the time, over the threads that compute, that threads waited for a core; nothing
  /// where the system does not say.
  std::optional<double> wait;
};

/// What a piece of work took in each repetition.
struct Timing {
  std::vector<Sample> samples;
  /// Samples thrown away because others had taken the cores.
  int64_t retaken = 0;

  double median() const;
  double min() const;
  double max() const;
  /// Mean share of waiting.
  std::optional<double> wait() const;
};

/// Waiting beyond this share spoils a sample.
inline constexpr double kMostWait = 0.03;

/// How often to time.
struct Repeats {
  int64_t repeat = 10, warmup = 2;
  /// After so many seconds three repetitions are enough; 0: no such limit.
  double seconds = 0;
};

/// Throws ConfigError for numbers outside [0, 10^6] or no repetition.
void check_repeats(const Repeats& repeats);

/// Calls work.once() and takes its time; a GPU is waited for.
Sample take_sample(const Work& work);

/// `warmup` untimed rounds, then `repeat` timed ones; a round calls every work once, so that noise
/// falls on all of them alike. A sample with more than `kMostWait` is taken again, for each work at
/// most `repeat` times in all. Throws as check_repeats.
std::vector<Timing> time_in_turn(const std::vector<Work>& works, const Repeats& repeats);

/// GFLOP/s at the median.
double gflops(const Timing& timing, const Work& work);

/// The fields that every bench reports with --json.
Json timing_json(const Timing& timing, const Work& work, const BenchCommon& common);

/// "cpu wait 0.2 %, 1 sample taken again"; "" where the system does not say.
std::string wait_text(const Timing& timing);

}  // namespace moe::tools
