#pragma once
// What tests of experts share. R rows, S source rows.

#include <vector>

#include <ATen/ops/tensor.h>

#include <moe/experts/experts.h>

namespace moe::test::experts {

using at::Tensor;

inline Tensor ids(const std::vector<int64_t>& values) {
  return at::tensor(values, at::kLong);
}

/// Nine rows of six tokens for four experts; expert 1 has none, two rows belong to nobody.
inline ExpertRows some_rows(const Tensor& source_SD) {
  const Tensor index_R = ids({5, 0, 0, 3, 2, 5, 1, 4, 4});
  return {source_SD, index_R, ids({0, 3, 3, 6, 7}), index_R + 100};
}

inline int64_t held(const ExpertRows& rows) {
  return rows.offsets_L[-1].item<int64_t>();
}

inline Table with(const char* key, Value value) {
  Table settings;
  settings.set(key, std::move(value));
  return settings;
}

}  // namespace moe::test::experts
