#include <algorithm>
#include <cmath>
#include <set>

#include <moe/analyze/loss_difference.h>

namespace moe::analyze {

namespace {

/// The smallest loss at one of `steps`, of which `points` have one.
double best_at(const std::vector<LossPoint>& points, const std::set<int64_t>& steps) {
  double out = std::numeric_limits<double>::infinity();
  for (const auto& point : points)
    if (steps.contains(point.step)) out = std::min(out, point.loss);
  return out;
}

/// The loss after `seconds`, where evaluations before and behind tell; NaN elsewhere.
double measured_at(const std::vector<LossPoint>& points, double seconds) {
  const bool known = points.front().seconds <= seconds && seconds <= points.back().seconds;
  return known ? loss_at(points, seconds) : kNotLogged;
}

}  // namespace

double difference_at_equal_steps(const std::vector<LossPoint>& ours,
                                 const std::vector<LossPoint>& theirs) {
  std::set<int64_t> mine, common;
  for (const auto& point : ours) mine.insert(point.step);
  for (const auto& point : theirs)
    if (mine.contains(point.step)) common.insert(point.step);
  return common.empty() ? kNotLogged : best_at(ours, common) - best_at(theirs, common);
}

double difference_at_equal_time(const std::vector<LossPoint>& ours,
                                const std::vector<LossPoint>& theirs) {
  if (ours.empty() || theirs.empty()) return kNotLogged;
  const double both = std::min(ours.back().seconds, theirs.back().seconds);
  return measured_at(ours, both) - measured_at(theirs, both);
}

}  // namespace moe::analyze
