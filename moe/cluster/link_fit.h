#pragma once
// A link's latency and bandwidth from measured times.

#include <vector>

namespace moe::cluster {

/// One measured message: what the model says is `latencies` a + `bytes` / b.
struct Timed {
  double latencies = 1;
  double bytes = 0;
  double seconds = 0;
};

/// seconds = latencies * latency + bytes / bandwidth.
struct FittedLink {
  double latency = 0, bandwidth = 0;
  /// Largest |predicted / measured - 1| over the measurements.
  double worst = 0;
};

/// The link that fits best, by least squares of relative errors, so that short messages count as
/// much as long ones. Where noise makes the best line fall or begin below 0, the best one without
/// latency. Throws moe::Error for fewer than two measurements of different size, and for times that
/// are not above 0.
FittedLink fit_link(const std::vector<Timed>& measured);

}  // namespace moe::cluster
