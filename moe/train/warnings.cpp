#include <algorithm>
#include <utility>

#include <moe/base/error.h>
#include <moe/base/log.h>
#include <moe/base/text.h>
#include <moe/train/warnings.h>

namespace moe::train {

void PeriodicWarnings::tell(const Kind& kind, Found& found) const {
  if (!std::ranges::includes(found.told, found.subjects))
    log::warn(concat(found.begin == found.end ? concat("step ", found.end)
                                              : concat("steps ", found.begin, " to ", found.end),
                     ": ", kind.what, ": ", grouped(static_cast<int64_t>(found.subjects.size())),
                     ", ", found.worst, '.', kind.remedy.empty() ? "" : " ", kind.remedy));
  found.told = std::move(found.subjects);
  found.subjects.clear();
  found.begin = found.end = 0;
}

void PeriodicWarnings::end_step(int64_t step) {
  ++calls_;
  for (auto& [kind, found] : found_) {
    if (std::exchange(found.is_now, false)) {
      found.begin = found.begin == 0 ? step : std::min(found.begin, step);  // rollbacks go back
      found.end = std::max(found.end, step);
    }
    if (calls_ < found.due || (found.subjects.empty() && found.told.empty())) continue;
    tell(kind, found);
    found.due = found.told.empty() ? 0 : calls_ + period_;
  }
}

void PeriodicWarnings::finish() {
  for (auto& [kind, found] : found_)
    if (!found.subjects.empty()) tell(kind, found);
}

}  // namespace moe::train
