// X ranks that share the experts of a layer.
#include <algorithm>
#include <functional>

#include <ATen/ops/tensor.h>

#include <moe/dispatch/rows_sent.h>

namespace moe::dispatch {

Tensor rows_sent(const DispatchPlan& plan, const parallel::Communicator& group) {
  if (!plan.exchange || group.size() == 1) return {};
  std::vector<int64_t> out(static_cast<size_t>(group.size()), 0);
  for (const auto& chunk : plan.exchange->chunks)
    std::ranges::transform(out, chunk.send, out.begin(), std::plus<>());
  int64_t to_others = 0, to_other_machines = 0;
  for (int64_t rank = 0; rank < group.size(); ++rank) {
    const int64_t rows = out[static_cast<size_t>(rank)];
    if (rank != group.rank()) to_others += rows;
    if (group.machine(rank) != group.machine(group.rank())) to_other_machines += rows;
  }
  out.insert(out.end(), {to_others, to_other_machines});
  return at::tensor(out, at::kLong);
}

}  // namespace moe::dispatch
