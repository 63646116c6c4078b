#pragma once

#include <algorithm>
#include <chrono>
#include <sched.h>
#include <thread>

namespace moe::parallel {

/// Waiting for what cannot wake one: at first only giving way to other threads, then sleeping, for
/// at most a twentieth of the time waited so far and a millisecond. So short waits stay short, and
/// long ones leave the processor to those that compute.
class Pause {
 public:
  /// `crowded`: there are more that wait than processors, so that to spin is to take one away.
  explicit Pause(bool crowded) : spins_(crowded ? 0.00002 : 0.0005) {}

  void wait() {
    const double waited = std::chrono::duration<double>(Clock::now() - since_).count();
    if (waited < spins_) {
      ::sched_yield();
      return;
    }
    std::this_thread::sleep_for(
        std::chrono::duration<double>(std::clamp(waited / 20, 0.00002, 0.001)));
  }

 private:
  using Clock = std::chrono::steady_clock;
  const double spins_;  // seconds
  const Clock::time_point since_ = Clock::now();
};

}  // namespace moe::parallel
