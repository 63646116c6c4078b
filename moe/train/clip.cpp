#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/sums.h>
#include <moe/parallel/gradients.h>
#include <moe/train/clip.h>

namespace moe::train {

namespace {

/// () float64: of the experts' gradients, or of all others.
Tensor squares_of(const NamedTensors& parameters, const ops::GradientSinks& sinks, bool experts) {
  Tensor sum = at::zeros({}, at::kDouble);
  for (const auto& [name, parameter] : parameters) {
    if (!parameter.grad().defined() || parallel::is_expert_parameter(name) != experts) continue;
    const auto* const sink = sinks.knowing(parameter);
    sum += sink ? ops::sum_of_squares(parameter.grad(), sink->live_ranges())
                : ops::sum_of_squares(parameter.grad());
  }
  return sum;
}

}  // namespace

double gradient_norm(const NamedTensors& parameters, parallel::Communicator& group,
                     const ops::GradientSinks& sinks) {
  const at::NoGradGuard no_grad;
  Tensor experts = squares_of(parameters, sinks, true);
  if (group.size() > 1) group.all_reduce(experts);
  return std::sqrt((experts + squares_of(parameters, sinks, false)).item<double>());
}

void clip_gradients(const NamedTensors& parameters, double norm, double max_norm,
                    const ops::GradientSinks& sinks) {
  if (max_norm <= 0 || !(norm > max_norm)) return;
  const at::NoGradGuard no_grad;
  std::vector<Tensor> gradients;
  std::vector<ops::GradientSink*> knowing;
  for (const auto& [name, parameter] : parameters) {
    const Tensor& gradient = parameter.grad();
    if (!gradient.defined()) continue;
    if (auto* const sink = sinks.knowing(parameter)) {
      knowing.push_back(sink);
      const Tensor flat = gradient.view(-1);
      for (const auto& [begin, end] : sink->live_ranges())
        gradients.push_back(flat.slice(0, begin, end));
    } else {
      gradients.push_back(gradient);
    }
  }
  if (!gradients.empty()) at::_foreach_mul_(gradients, max_norm / norm);
  for (auto* const sink : knowing) sink->keep_zeros();
}

}  // namespace moe::train
