#include <ATen/ops/maximum.h>

#include <moe/parallel/arguments.h>
#include <moe/parallel/reduced.h>

namespace moe::parallel {

Tensor reduced(std::string_view place, const std::vector<Tensor>& parts, Reduce reduce) {
  const auto dtype = parts[0].scalar_type();
  check_adds(place, dtype, reduce == Reduce::kSum);
  Tensor total = parts[0].to(c10::isReducedFloatingType(dtype) ? at::kFloat : dtype,
                             /*non_blocking=*/false, /*copy=*/true);
  for (size_t w = 1; w < parts.size(); ++w) {
    if (reduce == Reduce::kSum) {
      total.add_(parts[w]);
    } else {
      total = at::maximum(total, parts[w].to(total.scalar_type()));
    }
  }
  return total.to(dtype);
}

}  // namespace moe::parallel
