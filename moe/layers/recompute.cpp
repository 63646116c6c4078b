#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/base/error.h>
#include <moe/layers/recompute.h>

namespace moe::layers {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A holder, because autograd's context keeps no plain C++ objects.
struct HeldPart : torch::CustomClassHolder {
  RecomputedPart part;
};

struct Recomputed : torch::autograd::Function<Recomputed> {
  /// `anchor` needs a gradient even where x needs none: parameters inside the part do.
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& /*anchor*/,
                               const c10::intrusive_ptr<HeldPart>& held) {
    ctx->save_for_backward({x});
    ctx->saved_data["part"] = c10::IValue::make_capsule(held);
    ctx->saved_data["x_learns"] = x.requires_grad();
    return held->part(x);  // gradients are off here: nothing inside is kept
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    check(!at::GradMode::is_enabled(), "layers/recompute",
          "expected a backward pass that makes no graph, got one with create_graph. Switch "
          "recomputation off for second derivatives.");
    const auto held =
        c10::static_intrusive_pointer_cast<HeldPart>(ctx->saved_data["part"].toCapsule());
    const Tensor x = ctx->get_saved_variables()[0].detach().set_requires_grad(
        ctx->saved_data["x_learns"].toBool());
    variable_list roots, root_gradients;
    {
      const at::AutoGradMode with_gradients(true);
      const variable_list outputs = held->part(x);
      for (size_t i = 0; i < outputs.size(); ++i) {
        if (!outputs[i].requires_grad()) continue;
        roots.push_back(outputs[i]);
        root_gradients.push_back(gradients[i]);
      }
    }
    if (!roots.empty()) torch::autograd::backward(roots, root_gradients);
    return {x.grad(), Tensor(), Tensor()};
  }
};

}  // namespace

std::vector<Tensor> recomputed(const torch::nn::Module& owner, const RecomputedPart& part,
                               const Tensor& x) {
  const auto parameters = owner.parameters();
  const bool learns = at::GradMode::is_enabled() &&
                      (x.requires_grad() || std::any_of(parameters.begin(), parameters.end(),
                                                        [](const Tensor& parameter) {
                                                          return parameter.requires_grad();
                                                        }));
  if (!learns) return part(x);
  auto held = c10::make_intrusive<HeldPart>();
  held->part = part;
  return Recomputed::apply(x, at::zeros({0}, x.options()).set_requires_grad(true), held);
}

}  // namespace moe::layers
