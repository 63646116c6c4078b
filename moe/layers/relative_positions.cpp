// B buckets, H heads, Q queries, C keys.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/where.h>

#include <moe/base/error.h>
#include <moe/layers/relative_positions.h>

namespace moe {

void RelativePositions::validate(const std::string& place) const {
  check<ConfigError>(buckets == 0 || buckets >= 4, "config", "expected '",
                     detail::dotted(place, "buckets"), "' to be 0 or at least 4, got ", buckets,
                     ". Correct it.");
  check<ConfigError>(max_distance > buckets / 2, "config", "expected '",
                     detail::dotted(place, "max_distance"), "' above half of the buckets, got ",
                     max_distance, ". Raise it.");
}

}  // namespace moe

namespace moe::layers {

Tensor RelativeBias::of(int64_t queries, int64_t keys, bool causal) const {
  const auto ids = at::TensorOptions(at::kLong).device(table_BH.device());
  const Tensor ahead_QC =
      at::arange(keys, ids) - at::arange(keys - queries, keys, ids).unsqueeze(1);
  const int64_t side = causal ? table_BH.size(0) : table_BH.size(0) / 2, exact = side / 2;
  const Tensor distance_QC = causal ? ahead_QC.neg().clamp_min(0) : ahead_QC.abs();
  const double octaves = std::log(static_cast<double>(max_distance) / static_cast<double>(exact));
  // What is below `exact` is not used; a distance of 0 has no logarithm.
  const Tensor far_QC =
      ((distance_QC.clamp_min(1).to(at::kFloat) / static_cast<double>(exact)).log() / octaves *
       static_cast<double>(side - exact))
          .to(at::kLong)
          .add(exact)
          .clamp_max(side - 1);
  Tensor bucket_QC = at::where(distance_QC.lt(exact), distance_QC, far_QC);
  if (!causal) bucket_QC = bucket_QC + ahead_QC.gt(0).to(at::kLong) * side;
  return at::embedding(table_BH, bucket_QC).permute({2, 0, 1});
}

}  // namespace moe::layers
