#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace moe::train {

/// Warnings about what may be so step after step: a kind has at most one line a period, which says
/// how many it is about and what the worst was. The first is written in its step; then a period
/// gathers, and speaks when something is among it that the line before did not have.
class PeriodicWarnings {
 public:
  struct Kind {
    /// What is counted: "experts without a token".
    std::string what;
    /// A sentence on what to do; may be empty.
    std::string remedy;

    auto operator<=>(const Kind&) const = default;
  };

  /// `period`: of steps, at least 1. `speaks`: whether lines are written (one rank does).
  explicit PeriodicWarnings(int64_t period, bool speaks = true)
      : period_(period), speaks_(speaks) {}

  /// Counts `subject`, once a line. `text()` tells of it, and is asked for where `badness` is the
  /// largest so far.
  template <class Text>
  void add(const Kind& kind, int64_t subject, double badness, const Text& text) {
    if (!speaks_) return;
    auto& found = found_[kind];
    if (found.subjects.empty() || badness > found.badness) {
      found.badness = badness;
      found.worst = text();
    }
    found.subjects.insert(subject);
    found.is_now = true;
  }
  /// Once after every step: what is due is written. `step` is for people.
  void end_step(int64_t step);
  /// Writes what is left.
  void finish();

 private:
  struct Found {
    std::set<int64_t> subjects, told;  // in this period, and in the one before
    double badness = 0;
    std::string worst;
    bool is_now = false;         // something was added since the last call of end_step
    int64_t begin = 0, end = 0;  // steps, as people count
    int64_t due = 0;             // calls of end_step before which nothing is written
  };
  /// Ends a period.
  void tell(const Kind& kind, Found& found) const;

  int64_t period_;
  bool speaks_;
  int64_t calls_ = 0;
  std::map<Kind, Found> found_;
};

}  // namespace moe::train
