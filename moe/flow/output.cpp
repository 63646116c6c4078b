#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <moe/flow/output.h>

namespace moe {

Tensor BalanceReport::loss() const {
  Tensor total;
  for (const auto& term : terms) {
    const Tensor part = term.value * term.coefficient;
    total = total.defined() ? total + part : part;
  }
  return total.defined() ? total : at::zeros({}, at::kFloat);
}

}  // namespace moe
