#pragma once
// In how many parts rows travel between the ranks that share experts.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <moe/parallel/communicator.h>

namespace moe::parallel {

/// The number of chunks that the rows of a layer are exchanged in: while the experts of one
/// compute, the rows of the next travel. Fixed, or found by measuring whole steps (after Tutel's
/// adaptive pipelining, Hwang et al. 2022, which tries its degrees on line and keeps the fastest):
///
///   trial   each of 1, 2, 4, 8 that is not above the most experts of a rank takes a step in turn,
///           kRounds times over. The time of a step is that of its slowest rank; of a number of
///           chunks, the least of its steps, those of the first round left out, in which memory
///           grows.
///   choice  the fastest, if it takes less than kGain times what one chunk does; else one chunk.
///   again   after kPeriod steps, since the load of experts changes.
///
/// Times are agreed on between the ranks, so that all choose the same; results are the same bits
/// whatever is chosen (dispatch/kinds/all_to_all.cpp).
class Chunks {
 public:
  static constexpr int64_t kRounds = 4, kPeriod = 1000, kMost = 1024;
  static constexpr double kGain = 0.98;

  /// What a trial found.
  struct Choice {
    int64_t chunks = 1;
    /// Of a step with so many chunks, and with one.
    double seconds = 0, seconds_of_one = 0;
  };

  /// 0: as measured. Throws ConfigError, naming `option`, outside of [0, kMost].
  explicit Chunks(int64_t number = 1, const std::string& option = "parallel.chunks");

  /// For the step that is under way, the same on all ranks.
  int64_t now() const;
  /// A layer whose ranks hold up to so many experts each; more chunks would be empty. Told before
  /// the first step.
  void hold(int64_t experts);
  /// A step of this rank took `seconds`. All ranks of `world` call it. What was chosen, when a
  /// trial ends.
  std::optional<Choice> end_step(double seconds, Communicator& world);

 private:
  int64_t number_;  // 0: as measured
  int64_t most_held_ = 1;
  int64_t chosen_ = 1;
  int64_t step_ = 0;           // of the trial or behind it
  std::vector<double> least_;  // seconds by candidate
};

}  // namespace moe::parallel
