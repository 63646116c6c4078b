#pragma once

#include <functional>
#include <optional>

#include <moe/study/plan.h>

namespace moe::study {

/// Runs tasks, several at once or one after another. Extension point: the library runs them in this
/// process; the program, in processes of their own.
class Launcher {
 public:
  virtual ~Launcher() = default;
  /// How many may be under way.
  virtual int64_t at_once() const = 0;
  /// Begins what `execute` does with `folder`.
  virtual void start(const Path& folder) = 0;
  /// Waits until one is over, or for a short time: its folder, or nothing.
  virtual std::optional<Path> wait() = 0;
  /// Ends what is under way, without results.
  virtual void stop() = 0;
};

/// One after another, in this process.
std::unique_ptr<Launcher> in_this_process(const std::function<int()>& stop);

struct StudyControls {
  /// Nonzero once the study should stop.
  std::function<int()> stop = [] { return 0; };
  /// Called when a run is over, and when the study begins.
  std::function<void(size_t done, size_t all, const RunResult* last)> progress =
      [](size_t, size_t, const RunResult*) {};
};

/// Does what of `plan` has no result in `out` yet. False when it was stopped; what is finished
/// then stays, and the same call goes on. Throws moe::Error, once all others are done, where a run
/// ended without a result, and ConfigError as check_same_settings does.
bool run_study(const Plan& plan, const Path& out, Launcher& launcher,
               const StudyControls& controls = {});

}  // namespace moe::study
