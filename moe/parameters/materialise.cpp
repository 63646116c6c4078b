#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe {

at::ScalarType type_in(const Parameter& parameter, at::ScalarType dtype) {
  const auto& [name, tensor, info] = parameter;
  if (dtype == at::ScalarType::Undefined || !tensor.is_floating_point())
    return tensor.scalar_type();
  const bool of_choice =
      info.role == Role::kState ||
      (info.part == Part::kRouter && (info.role == Role::kBias || info.role == Role::kScale));
  return of_choice && dtype != at::kDouble ? tensor.scalar_type() : dtype;
}

void set_memory(const Tensor& parameter, const Tensor& memory) {
  check(parameter.sizes() == memory.sizes(), "parameters", "expected memory of shape ",
        parameter.sizes(), ", got ", memory.sizes(), ". Pass a tensor of the parameter's shape.");
  // Tensor::set_data refuses to change from "meta" to a device with memory; this is what it does
  // otherwise.
  parameter.unsafeGetTensorImpl()->shallow_copy_from(memory.detach().getIntrusivePtr());
}

void materialise(torch::nn::Module& module, at::Device device, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  for (const auto& parameter : tensors_of(module)) {
    const Tensor& tensor = parameter.tensor;
    if (!tensor.is_meta()) continue;
    set_memory(tensor, at::empty(tensor.sizes(),
                                 at::TensorOptions(type_in(parameter, dtype)).device(device)));
  }
}

}  // namespace moe
