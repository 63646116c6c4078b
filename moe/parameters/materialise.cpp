#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe {

void set_memory(const Tensor& parameter, const Tensor& memory) {
  check(parameter.sizes() == memory.sizes(), "parameters", "expected memory of shape ",
        parameter.sizes(), ", got ", memory.sizes(), ". Pass a tensor of the parameter's shape.");
  // Tensor::set_data refuses to change from "meta" to a device with memory; this is what it does
  // otherwise.
  parameter.unsafeGetTensorImpl()->shallow_copy_from(memory.detach().getIntrusivePtr());
}

void materialise(torch::nn::Module& module, at::Device device, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor, info] : tensors_of(module)) {
    if (!tensor.is_meta()) continue;
    const bool keeps = dtype == at::ScalarType::Undefined || !tensor.is_floating_point() ||
                       (info.role == Role::kState && dtype != at::kDouble);
    set_memory(tensor,
               at::empty(tensor.sizes(),
                         at::TensorOptions(keeps ? tensor.scalar_type() : dtype).device(device)));
  }
}

}  // namespace moe
