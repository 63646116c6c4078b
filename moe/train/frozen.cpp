#include <ATen/core/grad_mode.h>

#include <moe/base/error.h>
#include <moe/train/frozen.h>

namespace moe::train {

FrozenState::FrozenState(const Parameters& tensors, const std::vector<ParameterGroup>& groups) {
  for (const auto& tensor : tensors) {
    const bool is_state = tensor.info.role == Role::kState;
    for (const auto& [rows, group] : grouped_rows(groups, tensor)) {
      if (!group || !group->frozen) continue;
      if (is_state)
        state_.push_back({tensor.tensor, rows});
      else if (tensor.tensor.requires_grad())  // others of it learn, perhaps on other ranks alone
        experts_.push_back({tensor.tensor, rows});
    }
  }
}

void FrozenState::clear_gradients() const {
  const at::NoGradGuard no_grad;
  for (const auto& [tensor, rows] : experts_)
    if (tensor.grad().defined()) rows.of(tensor.grad()).zero_();
}

std::vector<Tensor> FrozenState::copies() const {
  std::vector<Tensor> out;
  for (const auto& [tensor, rows] : state_) out.push_back(rows.of(tensor).detach().clone());
  return out;
}

void FrozenState::put_back(const std::vector<Tensor>& copies) const {
  const at::NoGradGuard no_grad;
  check(copies.size() == state_.size(), "train/frozen", "expected copies of ", state_.size(),
        " tensors, got ", copies.size(), ". Pass what copies() gave.");
  for (size_t i = 0; i < state_.size(); ++i) state_[i].rows.of(state_[i].tensor).copy_(copies[i]);
}

}  // namespace moe::train
