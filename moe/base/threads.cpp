#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <moe/base/threads.h>

namespace moe {

void in_parallel(int64_t count, int64_t threads,
                 const std::function<void(int64_t index, size_t worker)>& work) {
  std::atomic<int64_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  int64_t failed_index = count;
  std::exception_ptr exception;
  // Indices are taken in order: when one fails, all before it have been taken and will be finished.
  const auto run = [&](size_t worker) {
    while (!failed) {
      const int64_t index = next++;
      if (index >= count) return;
      try {
        work(index, worker);
      } catch (...) {
        const std::lock_guard lock(mutex);
        failed = true;
        if (index < failed_index) {
          failed_index = index;
          exception = std::current_exception();
        }
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (int64_t worker = 1; worker < std::min(threads, count); ++worker)
      others.emplace_back(run, static_cast<size_t>(worker));
    run(0);
  }
  if (exception) std::rethrow_exception(exception);
}

}  // namespace moe
