#pragma once
// Gradients of a model of which every rank holds all but the experts of other ranks.

#include <memory>

#include <moe/parallel/layout.h>
#include <moe/parameters/list.h>

namespace moe::parallel {

/// What replicated values are put behind one another to, so that many small ones travel as one
/// message: bytes.
inline constexpr int64_t kBucketBytes = int64_t{16} << 20;

/// Adds the gradients of the replicated parameters over the world, and those of the experts
/// (ParameterInfo::is_local) over the ranks that hold the same ones, in rank order, so that all
/// ranks that have a parameter hold the same bits; then those of copies of experts go to the
/// experts' owners, and are zero (copies.h). Where no other rank holds this rank's experts
/// their gradients are complete as they are, and stay.
///
/// The parameters that are added are the same on all ranks of a group and in the same order;
/// parameters without requires_grad are passed over, and a tensor with several names (tied weights)
/// counts once. A gradient that is undefined here counts as zeros; one that is undefined on every
/// rank stays so.
void reduce_gradients(const Parameters& parameters, const Layout& layout);

/// The same while the backward pass goes on: gradients set out, a bucket at a time from the last
/// parameter to the first, as soon as the pass has made those of a bucket and of all before it.
/// The bits are those of reduce_gradients. Buckets travel in groups of their own, so that nothing
/// depends on what else is exchanged meanwhile, and take as much memory as the gradients that are
/// added.
///
/// Each gradient must be added to once a backward pass, so that it is complete then: not where
/// recomputation runs parts apart that share a parameter. Throws moe::Error where one is added to
/// again after it has set out.
class GradientSums {
 public:
  /// All ranks make it, for the same parameters, which must outlive it.
  GradientSums(const Parameters& parameters, const Layout& layout,
               int64_t bucket_bytes = kBucketBytes);
  GradientSums(const GradientSums&) = delete;
  GradientSums& operator=(const GradientSums&) = delete;
  ~GradientSums();

  /// The backward pass that comes completes the gradients.
  void begin();
  /// Sends what has not set out, and waits for all sums. Throws moe::Error without `begin`.
  void finish();

 private:
  class Queue;
  struct Hook;

  const Parameters parameters_;
  const std::shared_ptr<Communicator> sharers_;
  bool begun_ = false;
  std::shared_ptr<Queue> replicated_, experts_;
};

}  // namespace moe::parallel
