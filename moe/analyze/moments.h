#pragma once
// Mean, spread and range of a series of numbers, one at a time. No tensors.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace moe::analyze {

/// Welford's recurrences (1962), which do not cancel where the mean is large against the spread:
///   mean += (x - mean) / n,   squares += (x - mean_before) (x - mean_after).
/// Numbers that are not finite are counted apart and leave the rest alone.
class Moments {
 public:
  void add(double x) {
    if (!std::isfinite(x)) {
      ++not_finite_;
      return;
    }
    ++count_;
    const double from_mean = x - mean_;
    mean_ += from_mean / static_cast<double>(count_);
    squares_ += from_mean * (x - mean_);
    min_ = count_ == 1 ? x : std::min(min_, x);
    max_ = count_ == 1 ? x : std::max(max_, x);
    last_ = x;
  }

  /// Adds what `other` has seen, as if it came behind (Chan, Golub and LeVeque 1979).
  void merge(const Moments& other) {
    not_finite_ += other.not_finite_;
    if (other.count_ == 0) return;
    const auto n = static_cast<double>(count_), m = static_cast<double>(other.count_);
    const double between = other.mean_ - mean_;
    min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
    max_ = count_ == 0 ? other.max_ : std::max(max_, other.max_);
    squares_ += other.squares_ + between * between * n * m / (n + m);
    mean_ += between * m / (n + m);
    count_ += other.count_;
    last_ = other.last_;
  }

  /// Finite numbers seen; numbers that were not.
  int64_t count() const { return count_; }
  int64_t not_finite() const { return not_finite_; }
  /// NaN when no number was seen, as are the others.
  double mean() const { return or_nan(mean_); }
  double min() const { return or_nan(min_); }
  double max() const { return or_nan(max_); }
  /// The finite number seen last.
  double last() const { return or_nan(last_); }
  /// Of the numbers seen, as a sample: sqrt(squares / (n - 1)); 0 for a single one.
  double deviation() const {
    return or_nan(count_ > 1 ? std::sqrt(squares_ / static_cast<double>(count_ - 1)) : 0.0);
  }

 private:
  double or_nan(double value) const {
    return count_ > 0 ? value : std::numeric_limits<double>::quiet_NaN();
  }

  int64_t count_ = 0, not_finite_ = 0;
  double mean_ = 0, squares_ = 0, min_ = 0, max_ = 0, last_ = 0;
};

}  // namespace moe::analyze
