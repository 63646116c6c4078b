#include <moe/base/error.h>
#include <moe/parallel/communicator.h>

namespace moe::parallel {

Started::Started(std::unique_ptr<Work> work) : work_(std::move(work)) {}

Tensor Started::wait() {
  check(pending(), "parallel",
        "expected a collective under way, got none: wait was called before. Keep its result.");
  const auto work = std::move(work_);
  return work->wait();
}

}  // namespace moe::parallel
