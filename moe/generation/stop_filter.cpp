#include <algorithm>
#include <utility>

#include <moe/base/error.h>
#include <moe/generation/stop_filter.h>

namespace moe::generation {

StopFilter::StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const auto& stop : stops_)
    check<ConfigError>(!stop.empty(), "generation/stop",
                       "expected stop strings of at least one byte, got an empty one. Leave it "
                       "out.");
  std::ranges::sort(stops_, [](const auto& a, const auto& b) { return a.size() > b.size(); });
}

size_t StopFilter::possible_stop() const {
  const std::string_view held = held_;
  if (stops_.empty()) return 0;
  for (size_t length = std::min(held.size(), stops_.front().size() - 1); length > 0; --length)
    for (const auto& stop : stops_)
      if (stop.starts_with(held.substr(held.size() - length))) return length;
  return 0;
}

std::string StopFilter::push(std::string_view bytes) {
  for (const char byte : bytes) {
    if (stopped_) return {};
    held_ += byte;
    for (const auto& stop : stops_) {
      if (!held_.ends_with(stop)) continue;
      stopped_ = true;
      held_.resize(held_.size() - stop.size());
      return std::exchange(held_, {});
    }
  }
  const size_t certain = held_.size() - possible_stop();
  std::string out = held_.substr(0, certain);
  held_.erase(0, certain);
  return out;
}

std::string StopFilter::flush() {
  return std::exchange(held_, {});
}

}  // namespace moe::generation
