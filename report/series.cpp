#include <algorithm>
#include <cmath>

#include <report/series.h>

namespace moe::report {

namespace {

std::vector<double> multiples(double step, double low, double high) {
  std::vector<double> out;
  // Index times step, not a running sum: no rounding adds up.
  const double slack = 1e-9 * step;
  for (auto i = static_cast<int64_t>(std::ceil((low - slack) / step));
       static_cast<double>(i) * step <= high + slack && out.size() < 100; ++i)
    out.push_back(static_cast<double>(i) * step);
  return out;
}

}  // namespace

std::vector<Point> thinned(const std::vector<Point>& points, size_t most) {
  std::vector<Point> finite;
  for (const auto& point : points)
    if (std::isfinite(point.x) && std::isfinite(point.y)) finite.push_back(point);
  if (finite.size() <= most || most < 4) return finite;
  std::vector<Point> out = {finite.front()};
  const std::vector<Point> inner(finite.begin() + 1, finite.end() - 1);
  for (const auto& [begin, end] : stretches(inner.size(), (most - 2) / 2)) {
    const auto [low, high] =
        std::minmax_element(inner.begin() + static_cast<std::ptrdiff_t>(begin),
                            inner.begin() + static_cast<std::ptrdiff_t>(end),
                            [](const Point& a, const Point& b) { return a.y < b.y; });
    out.push_back(*std::min(low, high));
    if (low != high) out.push_back(*std::max(low, high));
  }
  out.push_back(finite.back());
  return out;
}

std::vector<Stretch> stretches(size_t count, size_t columns) {
  columns = std::min(count, columns);
  std::vector<Stretch> out;
  for (size_t i = 0; i < columns; ++i)
    out.push_back({i * count / columns, (i + 1) * count / columns});
  return out;
}

std::vector<double> ticks(double low, double high, int count) {
  if (!(high > low) || !std::isfinite(high - low)) return {low};
  const double rough = (high - low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0})
    if (factor * power >= rough * 0.999) return multiples(factor * power, low, high);
  return multiples(10 * power, low, high);
}

std::vector<double> log_ticks(double low, double high, int base, int count) {
  if (!(low > 0) || !(high > low) || !std::isfinite(high)) return {low};
  const double slack = 1e-9;
  const auto powers = [&](int step, const std::vector<double>& factors) {
    std::vector<double> out;
    const auto first = static_cast<int>(std::floor(std::log(low) / std::log(base)));
    for (int power = first - ((first % step) + step) % step; std::pow(base, power) <= high;
         power += step)
      for (const double factor : factors) {
        const double value = factor * std::pow(base, power);
        if (value >= low * (1 - slack) && value <= high * (1 + slack)) out.push_back(value);
      }
    return out;
  };
  const auto most = static_cast<size_t>(count + 1);
  if (base == 10)
    if (const auto fine = powers(1, {1, 2, 5}); fine.size() <= most) return fine;
  for (int step = 1;; ++step)
    if (const auto out = powers(step, {1}); out.size() <= most || step > 1000) return out;
}

std::vector<double> time_ticks(double low, double high, int count) {
  if (!(high > low)) return {low};
  const double rough = (high - low) / count;
  for (const double step : {1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0,
                            1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 43200.0, 86400.0})
    if (step >= rough * 0.999) return multiples(step, low, high);
  return multiples(86400 * std::ceil(rough / 86400), low, high);
}

}  // namespace moe::report
