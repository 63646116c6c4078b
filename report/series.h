#pragma once
// Series of points, made short enough to draw.

#include <string>
#include <vector>

namespace moe::report {

struct Point {
  double x = 0, y = 0;
};

/// Points whose coordinates are both finite, at most about `most` of them: of each of most / 2
/// equally long stretches the smallest and the largest y, in their order, so that spikes stay. The
/// first and the last point stay.
std::vector<Point> thinned(const std::vector<Point>& points, size_t most);

/// Where a column of a heat map begins and ends among the logged steps.
struct Stretch {
  size_t begin = 0, end = 0;
};
/// `count` things in at most `columns` stretches of nearly equal length.
std::vector<Stretch> stretches(size_t count, size_t columns);

/// Round values in [low, high], about `count` of them.
std::vector<double> ticks(double low, double high, int count);
/// Round values in [low, high], both above 0, at about equal factors, at most about `count` of
/// them: powers of two, or of ten with 2 and 5 times these where there is room.
std::vector<double> log_ticks(double low, double high, int base, int count);
/// As ticks, but of seconds: multiples of 1, 2, 5, 10, 15, 30 s, min, h.
std::vector<double> time_ticks(double low, double high, int count);

}  // namespace moe::report
