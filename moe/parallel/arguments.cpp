#include <numeric>

#include <moe/base/error.h>
#include <moe/parallel/arguments.h>

namespace moe::parallel {

void check_values(std::string_view place, const at::Tensor& values) {
  check(values.defined(), place,
        "expected a tensor, got an undefined one. Every rank has to bring one, ",
        "with zero rows if it has none.");
  check(values.is_contiguous(), place, "expected a contiguous tensor, got strides ",
        values.strides(), " for sizes ", values.sizes(), ". Call contiguous().");
}

void check_rows(std::string_view place, const at::Tensor& rows) {
  check_values(place, rows);
  check(rows.dim() >= 1, place,
        "expected rows with at least one dimension, got a scalar. Reshape it to (1,).");
}

void check_counts(std::string_view place, std::string_view what, const std::vector<int64_t>& counts,
                  int64_t ranks) {
  check(static_cast<int64_t>(counts.size()) == ranks, place, "expected one ", what,
        " count for each of ", ranks, " ranks, got ", counts.size(),
        ". Give 0 for ranks without rows.");
  for (size_t w = 0; w < counts.size(); ++w)
    check(counts[w] >= 0, place, "expected ", what, " counts of at least 0, got ", counts[w],
          " for rank ", w, ". Correct the counts.");
}

void check_sum(std::string_view place, const std::vector<int64_t>& send, int64_t rows) {
  const int64_t sum = std::accumulate(send.begin(), send.end(), int64_t{0});
  check(sum == rows, place, "expected send counts that add up to the ", rows, " rows given, got ",
        sum, ". Correct the counts.");
}

void check_root(std::string_view place, int64_t root, int64_t ranks) {
  check(root >= 0 && root < ranks, place, "expected root in [0, size=", ranks, "), got ", root,
        ". Name a rank of this group.");
}

}  // namespace moe::parallel
