#include <algorithm>
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

void check_sum(std::string_view place, std::string_view what, const std::vector<int64_t>& counts,
               int64_t rows) {
  const int64_t sum = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  check(sum == rows, place, "expected ", what, " counts that add up to the ", rows,
        " rows given, got ", sum, ". Correct the counts.");
}

void check_root(std::string_view place, int64_t root, int64_t ranks) {
  check(root >= 0 && root < ranks, place, "expected root in [0, size=", ranks, "), got ", root,
        ". Name a rank of this group.");
}

void check_adds(std::string_view place, at::ScalarType dtype, bool sum) {
  check(dtype != at::kBool || !sum, place,
        "expected numbers to add, got bool. Convert to an integer type, or reduce by maximum.");
}

TensorKind TensorKind::of(const at::Tensor& tensor) {
  return {tensor.scalar_type(), tensor.sizes().vec()};
}

void check_alike(std::string_view place, std::string_view call, const TensorKind& model,
                 const TensorKind& here, size_t first) {
  const auto from = [first](const TensorKind& kind) {
    return at::IntArrayRef(kind.sizes).slice(std::min(first, kind.sizes.size()));
  };
  if (here.dtype == model.dtype && here.sizes.size() == model.sizes.size() &&
      from(here) == from(model))
    return;
  fail(place, "expected ", call, " of ",
       first > 0 ? "rows with the trailing sizes and dtype" : "the sizes and dtype", " of rank 0, ",
       model.dtype, ' ', at::IntArrayRef(model.sizes), ", got ", here.dtype, ' ',
       at::IntArrayRef(here.sizes), ". Give all ranks tensors of one kind.");
}

void check_received(std::string_view place, int64_t expected, int64_t from, int64_t sent) {
  check(expected == sent, place, "expected to receive ", expected, " rows from rank ", from,
        ", got ", sent, ". Make the counts to send and to receive agree.");
}

void check_gathered(std::string_view place, int64_t expected, int64_t from, int64_t rows) {
  check(expected == rows, place, "expected ", expected, " rows from rank ", from, ", got ", rows,
        ". Make the counts and the rows agree.");
}

void check_same_root(std::string_view place, int64_t model, int64_t here) {
  check(here == model, place, "expected the root of rank 0, ", model, ", got ", here,
        ". Name the same root on all ranks.");
}

void check_same_counts(std::string_view place, const std::vector<int64_t>& model,
                       const std::vector<int64_t>& here) {
  check(here == model, place, "expected the counts of rank 0, ", at::IntArrayRef(model), ", got ",
        at::IntArrayRef(here), ". Give the same counts on all ranks.");
}

void fail_calls(std::string_view place, const std::vector<std::string>& calls) {
  std::vector<std::string> named;
  for (size_t r = 0; r < calls.size(); ++r) named.push_back(concat("rank ", r, ": ", calls[r]));
  fail(place, "expected all ranks to call the same collective, got ", join(named),
       ". Make the ranks' calls agree.");
}

}  // namespace moe::parallel
