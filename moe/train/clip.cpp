#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <moe/parallel/gradients.h>
#include <moe/train/clip.h>

namespace moe::train {

namespace {

std::vector<Tensor> gradients_of(const NamedTensors& parameters, bool experts) {
  std::vector<Tensor> out;
  for (const auto& [name, parameter] : parameters)
    if (parameter.grad().defined() && parallel::is_expert_parameter(name) == experts)
      out.push_back(parameter.grad());
  return out;
}

/// () float64.
Tensor sum_of_squares(const std::vector<Tensor>& tensors) {
  if (tensors.empty()) return at::zeros({}, at::kDouble);
  std::vector<Tensor> norms = at::_foreach_norm(tensors, 2);
  for (auto& norm : norms) norm = norm.to(at::kDouble).cpu();
  return at::stack(norms).square().sum();
}

}  // namespace

double gradient_norm(const NamedTensors& parameters, parallel::Communicator& group) {
  const at::NoGradGuard no_grad;
  Tensor experts = sum_of_squares(gradients_of(parameters, true));
  if (group.size() > 1) group.all_reduce(experts);
  return std::sqrt((experts + sum_of_squares(gradients_of(parameters, false))).item<double>());
}

void clip_gradients(const NamedTensors& parameters, double norm, double max_norm) {
  if (max_norm <= 0 || !(norm > max_norm)) return;
  const at::NoGradGuard no_grad;
  for (const bool experts : {false, true}) {
    const auto gradients = gradients_of(parameters, experts);
    if (!gradients.empty()) at::_foreach_mul_(gradients, max_norm / norm);
  }
}

}  // namespace moe::train
