#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/sums.h>
#include <moe/train/clip.h>

namespace moe::train {

namespace {

/// () float64: of the parameters of this rank's experts, or of all others.
Tensor squares_of(const Parameters& parameters, bool local) {
  Tensor sum = at::zeros({}, at::kDouble);
  for (const auto& [name, tensor, info] : parameters)
    if (tensor.grad().defined() && info.is_local() == local)
      sum += ops::sum_of_squares(tensor.grad());
  return sum;
}

}  // namespace

double gradient_norm(const Parameters& parameters, const parallel::Layout& layout) {
  const at::NoGradGuard no_grad;
  Tensor local = squares_of(parameters, true);
  if (layout.experts->size() > 1) layout.experts->all_reduce(local);
  return std::sqrt((local + squares_of(parameters, false)).item<double>());
}

double clip_factor(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm ? max_norm / norm : 1;
}

void multiply_gradients(const Parameters& parameters, double factor) {
  if (factor == 1) return;
  const at::NoGradGuard no_grad;
  std::vector<Tensor> gradients;
  for (const auto& parameter : parameters)
    if (parameter.tensor.grad().defined()) gradients.push_back(parameter.tensor.grad());
  if (!gradients.empty()) at::_foreach_mul_(gradients, factor);
}

void clip_gradients(const Parameters& parameters, double norm, double max_norm) {
  multiply_gradients(parameters, clip_factor(norm, max_norm));
}

}  // namespace moe::train
