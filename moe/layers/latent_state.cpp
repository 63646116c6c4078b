// C positions held, T tokens, W numbers of a token.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/layers/latent_state.h>

namespace moe::layers {

LatentState::LatentState(int64_t latent_width, int64_t index_width, const StateShape& shape)
    : capacity_(shape.capacity) {
  check(capacity_ > 0, "layers/latent_attention", "expected a state of at least 1 position, got ",
        capacity_, ". Make it as long as the longest text.");
  latent_ = at::empty({0, capacity_, latent_width}, shape.tensors);
  index_ = at::empty({0, capacity_, index_width}, shape.tensors);
}

void LatentState::join(int64_t count) {
  const int64_t held = slots_.longest();
  slots_.join(count);
  for (Tensor* memory : {&latent_, &index_}) *memory = with_rows(*memory, slots_.rows(), held);
}

int64_t LatentState::bytes() const {
  return static_cast<int64_t>(latent_.nbytes() + index_.nbytes());
}

void LatentState::extend(const Runs& runs, const Tensor& latent_TW, const Tensor& index_TI) {
  for (int64_t n = 0; n < slots(); ++n)
    check(length(n) + runs.length(n) <= capacity_, "layers/latent_attention", "expected at most ",
          capacity_, " positions of one sequence, got ", length(n) + runs.length(n),
          ". Make a state of larger capacity, or the text shorter.");
  std::vector<Tensor> row_parts;
  for (int64_t n = 0; n < slots(); ++n) {
    const int64_t first = first_row(n) + length(n);
    row_parts.push_back(at::arange(first, first + runs.length(n), at::kLong));
    slots_.lengthen(n, runs.length(n));
  }
  if (latent_TW.size(0) == 0) return;
  const Tensor row_T = at::cat(row_parts).to(latent_.device());
  const auto write = [&](const Tensor& memory, const Tensor& new_TW) {
    memory.flatten(0, 1).index_copy_(0, row_T, new_TW.to(memory.scalar_type()));
  };
  write(latent_, latent_TW);
  if (index_TI.defined()) write(index_, index_TI);
}

Tensor LatentState::held(const Tensor& memory, int64_t n) const {
  return memory.select(0, slots_.row(n)).narrow(0, 0, length(n));
}

}  // namespace moe::layers
