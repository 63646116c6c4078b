#include <unordered_set>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include <moe/parallel/copies.h>
#include <moe/parallel/gradients.h>

namespace moe::parallel {

namespace {

/// The parameters that learn, of experts or the others, each once.
std::vector<Tensor> learning(const Parameters& parameters, bool of_experts) {
  std::vector<Tensor> result;
  std::unordered_set<const c10::TensorImpl*> seen;
  for (const auto& [name, tensor, info] : parameters) {
    if (!tensor.requires_grad() || info.is_local() != of_experts) continue;
    if (seen.insert(tensor.unsafeGetTensorImpl()).second) result.push_back(tensor);
  }
  return result;
}

/// One all-reduce for all of `bucket`: its gradients behind one another, then for each how many
/// ranks have it.
void reduce_bucket(const std::vector<Tensor>& bucket, Communicator& group) {
  int64_t numbers = static_cast<int64_t>(bucket.size());
  for (const Tensor& parameter : bucket) numbers += parameter.numel();
  Tensor buffer = at::zeros({numbers}, bucket[0].options().requires_grad(false));
  const Tensor ranks_with = buffer.slice(0, numbers - static_cast<int64_t>(bucket.size()));

  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (size_t i = 0; i < bucket.size(); ++i) {
    parts.push_back(buffer.narrow(0, begin, bucket[i].numel()).view(bucket[i].sizes()));
    begin += bucket[i].numel();
    if (!bucket[i].grad().defined()) continue;
    parts[i].copy_(bucket[i].grad());
    ranks_with[static_cast<int64_t>(i)].fill_(1);
  }
  group.all_reduce(buffer);

  const Tensor present = ranks_with.to(at::kCPU, at::kDouble);
  for (size_t i = 0; i < bucket.size(); ++i) {
    if (present.const_data_ptr<double>()[i] == 0) continue;
    Tensor& gradient = bucket[i].mutable_grad();
    if (!gradient.defined()) gradient = at::empty_like(bucket[i]);
    gradient.copy_(parts[i]);
  }
}

/// Buckets follow from the parameters alone, so they are the same on all ranks whatever gradients
/// these have.
void reduce_all(const std::vector<Tensor>& parameters, Communicator& group) {
  if (group.size() == 1) return;
  std::vector<Tensor> bucket;
  int64_t bytes = 0;
  for (const Tensor& parameter : parameters) {
    const bool fits = bytes + static_cast<int64_t>(parameter.nbytes()) <= kBucketBytes &&
                      !bucket.empty() && parameter.scalar_type() == bucket[0].scalar_type();
    if (!bucket.empty() && !fits) {
      reduce_bucket(bucket, group);
      bucket.clear();
      bytes = 0;
    }
    bucket.push_back(parameter);
    bytes += static_cast<int64_t>(parameter.nbytes());
  }
  if (!bucket.empty()) reduce_bucket(bucket, group);
}

}  // namespace

void reduce_gradients(const Parameters& parameters, const Layout& layout) {
  const at::NoGradGuard no_grad;
  reduce_all(learning(parameters, /*of_experts=*/false), *layout.world);
  collect_gradients_of_copies(parameters, *layout.experts);
  reduce_all(learning(parameters, /*of_experts=*/true), *layout.data);
}

}  // namespace moe::parallel
