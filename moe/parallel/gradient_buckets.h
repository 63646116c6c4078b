#pragma once
// Gradients that travel together.

#include <string>
#include <vector>

#include <moe/parallel/communicator.h>
#include <moe/parameters/list.h>

namespace moe::parallel {

/// A parameter that learns.
struct Learning {
  std::string name;
  Tensor tensor;
};

/// The parameters that learn, of experts or the others, each once.
std::vector<Learning> learning(const Parameters& parameters, bool of_experts);

/// Neighbours of one type, of up to so many bytes, or one that is larger. They follow from the
/// parameters alone, so that they are the same on all ranks whatever gradients these have.
std::vector<std::vector<Learning>> buckets_of(const std::vector<Learning>& parameters,
                                              int64_t bytes);

/// The sum of a bucket's gradients over the ranks of a group: its gradients behind one another,
/// then for each how many ranks have it.
class BucketSum {
 public:
  explicit BucketSum(std::vector<Learning> bucket) : bucket_(std::move(bucket)) {}

  const std::vector<Learning>& bucket() const { return bucket_; }
  bool has_set_out() const { return sum_.pending(); }
  /// Copies the gradients as they are now.
  void set_out(Communicator& group);
  /// Waits for the sums and makes them the gradients.
  void arrive();

 private:
  std::vector<Learning> bucket_;
  Started sum_;
};

}  // namespace moe::parallel
