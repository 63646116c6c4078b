#include <algorithm>
#include <deque>

#include <moe/study/runner.h>

namespace moe::study {

namespace {

/// Whether the run has figures. What failed is tried again: the reason may be gone.
bool is_done(const Path& folder) {
  return has_result(folder) && read_result(folder).failure.empty();
}

class InThisProcess final : public Launcher {
 public:
  explicit InThisProcess(std::function<int()> stop) : stop_(std::move(stop)) {}
  int64_t at_once() const override { return 1; }
  void start(const Path& folder) override {
    execute(folder, stop_);
    over_ = folder;
  }
  std::optional<Path> wait() override { return std::exchange(over_, std::nullopt); }
  void stop() override {}

 private:
  std::function<int()> stop_;
  std::optional<Path> over_;
};

}  // namespace

std::unique_ptr<Launcher> in_this_process(const std::function<int()>& stop) {
  return std::make_unique<InThisProcess>(stop);
}

bool run_study(const Plan& plan, const Path& out, Launcher& launcher,
               const StudyControls& controls) {
  check_same_settings(plan, out);
  std::deque<const PlannedRun*> waiting;
  for (const auto& run : plan.runs)
    if (!is_done(out / run.folder)) waiting.push_back(&run);
  const size_t all = plan.runs.size();
  size_t done = all - waiting.size();
  int64_t under_way = 0;
  std::vector<std::string> lost;
  controls.progress(done, all, nullptr);
  while (!waiting.empty() || under_way > 0) {
    if (controls.stop() != 0) {
      launcher.stop();
      return false;
    }
    if (!waiting.empty() && under_way < launcher.at_once()) {
      const PlannedRun& next = *waiting.front();
      waiting.pop_front();
      write_task(next.task, out / next.folder);
      launcher.start(out / next.folder);
      ++under_way;
      continue;
    }
    const auto over = launcher.wait();
    if (!over) continue;
    --under_way;
    if (controls.stop() != 0) continue;  // it may have been stopped, not lost
    if (!has_result(*over)) {
      lost.push_back(over->string());
      continue;
    }
    const RunResult result = read_result(*over);
    controls.progress(++done, all, &result);
  }
  check(lost.empty(), "study", "expected a result of every run, ", lost.size(),
        " ended without. The same command tries them again; what they said stands above.",
        indented_list(lost));
  return controls.stop() == 0;
}

}  // namespace moe::study
