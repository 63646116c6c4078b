#include <unordered_set>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <moe/parallel/gradient_buckets.h>

namespace moe::parallel {

std::vector<Learning> learning(const Parameters& parameters, bool of_experts) {
  std::vector<Learning> result;
  std::unordered_set<const c10::TensorImpl*> seen;
  for (const auto& [name, tensor, info] : parameters) {
    if (!tensor.requires_grad() || info.is_local() != of_experts) continue;
    if (seen.insert(tensor.unsafeGetTensorImpl()).second) result.push_back({name, tensor});
  }
  return result;
}

std::vector<std::vector<Learning>> buckets_of(const std::vector<Learning>& parameters,
                                              int64_t bytes) {
  std::vector<std::vector<Learning>> out;
  int64_t filled = 0;
  for (const auto& parameter : parameters) {
    const auto size = static_cast<int64_t>(parameter.tensor.nbytes());
    if (out.empty() || filled + size > bytes ||
        parameter.tensor.scalar_type() != out.back().front().tensor.scalar_type()) {
      out.emplace_back();
      filled = 0;
    }
    out.back().push_back(parameter);
    filled += size;
  }
  return out;
}

void BucketSum::set_out(Communicator& group) {
  const at::NoGradGuard no_grad;
  const auto count = static_cast<int64_t>(bucket_.size());
  int64_t numbers = count;
  for (const auto& [name, tensor] : bucket_) numbers += tensor.numel();
  Tensor buffer = at::zeros({numbers}, bucket_.front().tensor.options().requires_grad(false));
  Tensor ranks_with = buffer.slice(0, numbers - count);
  int64_t begin = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Tensor& tensor = bucket_[static_cast<size_t>(i)].tensor;
    if (tensor.grad().defined()) {
      buffer.narrow(0, begin, tensor.numel()).view(tensor.sizes()).copy_(tensor.grad());
      ranks_with[i].fill_(1);
    }
    begin += tensor.numel();
  }
  sum_ = group.start_all_reduce(std::move(buffer));
}

void BucketSum::arrive() {
  const at::NoGradGuard no_grad;
  const Tensor buffer = sum_.wait();
  const auto count = static_cast<int64_t>(bucket_.size());
  const Tensor present =
      buffer.slice(0, buffer.size(0) - count).to(at::kCPU, at::kDouble).contiguous();
  int64_t begin = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Tensor& tensor = bucket_[static_cast<size_t>(i)].tensor;
    const Tensor sum = buffer.narrow(0, begin, tensor.numel()).view(tensor.sizes());
    begin += tensor.numel();
    if (present.const_data_ptr<double>()[i] == 0) continue;
    Tensor& gradient = tensor.mutable_grad();
    if (!gradient.defined()) gradient = at::empty_like(tensor);
    gradient.copy_(sum);
  }
}

}  // namespace moe::parallel
