#pragma once
// B buckets, H heads, Q queries, C keys.

#include <string>

#include <ATen/core/Tensor.h>

#include <moe/base/fields.h>

namespace moe {

/// Biases on scores by how far a key is from the query (T5, Raffel et al. 2020): one number for
/// each bucket of distances and head. Parameter position_bias (B, H), of the first layer of a stack
/// where the others share it.
struct RelativePositions {
  int64_t buckets = 0;
  int64_t max_distance = 128;
  bool shared = false;

  template <class Visitor>
  void fields(Visitor& v) {
    v("buckets", buckets,
      "buckets of distances, half of them for either side where tokens see both; 0: no biases");
    v("max_distance", max_distance, "where the last bucket begins");
    v("shared", shared, "use the table of the layer before, be it its own or shared");
  }
  void validate(const std::string& place) const;
};

}  // namespace moe

namespace moe::layers {

using at::Tensor;

/// A table of biases on its way to the scores; none where the table is undefined.
struct RelativeBias {
  Tensor table_BH = {};
  int64_t max_distance = 128;

  bool defined() const { return table_BH.defined(); }
  /// (H, Q, C): table[bucket(key - query)], the queries being the last Q of the C positions. With
  /// `causal` all buckets are for what came before. Of the b buckets of a side the first half hold
  /// one distance each, the others grow to max_distance with the logarithm:
  /// b/2 + floor(ln(n / (b/2)) / ln(max_distance / (b/2)) (b - b/2)), at most b - 1. In float32, as
  /// published.
  Tensor of(int64_t queries, int64_t keys, bool causal) const;
};

}  // namespace moe::layers
