#include <algorithm>
#include <unordered_map>

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <moe/base/error.h>
#include <moe/parallel/copies.h>
#include <moe/parallel/gradient_buckets.h>
#include <moe/parallel/gradients.h>

namespace moe::parallel {

namespace {

void reduce_all(const std::vector<Learning>& parameters, Communicator& group) {
  if (group.size() == 1) return;
  for (auto& bucket : buckets_of(parameters, kBucketBytes)) {
    BucketSum sum(std::move(bucket));
    sum.set_out(group);
    sum.arrive();
  }
}

}  // namespace

void reduce_gradients(const Parameters& parameters, const Layout& layout) {
  reduce_all(learning(parameters, /*of_experts=*/false), *layout.world);
  reduce_all(learning(parameters, /*of_experts=*/true), *layout.data);
  collect_gradients_of_copies(parameters, *layout.experts);
}

/// The buckets of one group. They set out in one order, so that all ranks agree whatever gradients
/// they have.
class GradientSums::Queue {
 public:
  Queue(std::vector<Learning> parameters, const std::shared_ptr<Communicator>& group, int64_t bytes)
      : group_(group->split(0, group->rank())) {
    // The backward pass makes those of the last parameters first.
    std::ranges::reverse(parameters);
    for (auto& bucket : buckets_of(parameters, bytes)) {
      for (const auto& [name, tensor] : bucket)
        bucket_of_[tensor.unsafeGetTensorImpl()] = sums_.size();
      sums_.emplace_back(std::move(bucket));
    }
    missing_.resize(sums_.size());
  }

  const std::vector<BucketSum>& sums() const { return sums_; }

  void begin() {
    active_ = true;
    next_ = 0;
    for (size_t i = 0; i < sums_.size(); ++i)
      missing_[i] = static_cast<int64_t>(sums_[i].bucket().size());
  }

  void made(const Tensor& parameter) {
    if (!active_) return;
    const size_t bucket = bucket_of_.at(parameter.unsafeGetTensorImpl());
    if (sums_[bucket].has_set_out()) fail_again(parameter, sums_[bucket]);
    --missing_[bucket];
    while (next_ < sums_.size() && missing_[next_] <= 0) sums_[next_++].set_out(*group_);
  }

  void finish() {
    active_ = false;
    while (next_ < sums_.size()) sums_[next_++].set_out(*group_);
    for (auto& sum : sums_) sum.arrive();
  }

 private:
  [[noreturn]] static void fail_again(const Tensor& parameter, const BucketSum& sum) {
    const auto found = std::ranges::find_if(
        sum.bucket(), [&](const auto& one) { return one.tensor.is_same(parameter); });
    fail("parallel/gradients", "expected the gradient of '", found->name,
         "' to be complete when it was first added to, got another part of it: recomputation runs "
         "parts apart that share it. Set parallel.overlap_gradients = false, or train.recompute = "
         "\"none\".");
  }

  const std::shared_ptr<Communicator> group_;
  std::vector<BucketSum> sums_;
  std::unordered_map<const c10::TensorImpl*, size_t> bucket_of_;
  std::vector<int64_t> missing_;  // gradients of each bucket
  size_t next_ = 0;               // the bucket that sets out next
  bool active_ = false;
};

struct GradientSums::Hook final : torch::autograd::PostAccumulateGradHook {
  explicit Hook(std::weak_ptr<Queue> to) : queue(std::move(to)) {}
  void operator()(const Tensor& parameter) override {
    if (const auto held = queue.lock()) held->made(parameter);
  }
  std::weak_ptr<Queue> queue;
};

GradientSums::GradientSums(const Parameters& parameters, const Layout& layout, int64_t bucket_bytes)
    : parameters_(parameters), sharers_(layout.experts) {
  const auto queue_of = [&](bool of_experts, const std::shared_ptr<Communicator>& group) {
    if (group->size() == 1) return std::shared_ptr<Queue>();
    auto out = std::make_shared<Queue>(learning(parameters, of_experts), group, bucket_bytes);
    for (const auto& sum : out->sums())
      for (const auto& [name, tensor] : sum.bucket())
        torch::autograd::impl::set_post_acc_grad_hooks(tensor, std::make_unique<Hook>(out));
    return out;
  };
  replicated_ = queue_of(/*of_experts=*/false, layout.world);
  experts_ = queue_of(/*of_experts=*/true, layout.data);
}

GradientSums::~GradientSums() {
  for (const auto& queue : {replicated_, experts_}) {
    if (!queue) continue;
    for (const auto& sum : queue->sums())
      for (const auto& [name, tensor] : sum.bucket())
        torch::autograd::impl::set_post_acc_grad_hooks(tensor, nullptr);
  }
}

void GradientSums::begin() {
  begun_ = true;
  for (const auto& queue : {replicated_, experts_})
    if (queue) queue->begin();
}

void GradientSums::finish() {
  check(std::exchange(begun_, false), "parallel/gradients",
        "expected begin() before the backward pass, got finish() alone. Call it.");
  for (const auto& queue : {replicated_, experts_})
    if (queue) queue->finish();
  collect_gradients_of_copies(parameters_, *sharers_);
}

}  // namespace moe::parallel
