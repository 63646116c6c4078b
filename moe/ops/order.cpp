// N ids, E bins, T tokens, K choices.
#include <cmath>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/ops/order.h>

namespace moe::ops {

namespace {

/// Counting sort on the CPU, one pass to count and one to place.
Order counting_sort_cpu(const Tensor& ids_N, int64_t bins) {
  const Tensor contiguous_N = ids_N.contiguous();
  const int64_t N = contiguous_N.size(0);
  const int64_t* ids = contiguous_N.const_data_ptr<int64_t>();
  Order out{at::empty({N}, ids_N.options()), at::empty({N}, ids_N.options()),
            at::zeros({bins + 1}, ids_N.options())};
  int64_t* order = out.order_N.mutable_data_ptr<int64_t>();
  int64_t* position = out.position_N.mutable_data_ptr<int64_t>();
  int64_t* offsets = out.offsets_E.mutable_data_ptr<int64_t>();

  const auto inside = [bins](int64_t id) { return id >= 0 && id < bins; };
  for (int64_t n = 0; n < N; ++n)
    if (inside(ids[n])) ++offsets[ids[n] + 1];
  for (int64_t e = 0; e < bins; ++e) offsets[e + 1] += offsets[e];

  std::vector<int64_t> next(offsets, offsets + bins);
  int64_t outside = offsets[bins];
  for (int64_t n = 0; n < N; ++n) {
    const bool in = inside(ids[n]);
    const int64_t place = in ? next[ids[n]]++ : outside++;
    order[place] = n;
    position[n] = in ? place : -1;
  }
  return out;
}

Order counting_sort_any(const Tensor& ids_N, int64_t bins) {
  const Tensor bin_N = at::where(ids_N.ge(0).logical_and(ids_N.lt(bins)), ids_N, bins);
  const auto [sorted_N, order_N] =
      at::sort(bin_N, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  Order out{order_N, at::empty_like(order_N), at::zeros({bins + 1}, ids_N.options())};
  const Tensor counts_E1 = at::bincount(bin_N, {}, bins + 1);
  out.offsets_E.slice(0, 1).copy_(at::cumsum(counts_E1.slice(0, 0, bins), 0));
  out.position_N.scatter_(0, order_N, at::arange(order_N.size(0), ids_N.options()));
  out.position_N = at::where(bin_N.lt(bins), out.position_N, -1);
  return out;
}

/// Columns of the K largest of each row by insertion: K is small beside E.
template <class Scalar>
void topk_rows(const Scalar* scores, int64_t* columns, int64_t E, int64_t K, int64_t begin,
               int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const Scalar* row = scores + t * E;
    int64_t* best = columns + t * K;
    int64_t found = 0;
    // NaN compares false with everything: written so that it sinks to the end.
    const auto above = [row](int64_t a, int64_t b) {
      return row[a] > row[b] || (row[b] != row[b] && row[a] == row[a]);
    };
    for (int64_t e = 0; e < E; ++e) {
      if (found == K && !above(e, best[K - 1])) continue;
      int64_t place = found < K ? found++ : K - 1;
      for (; place > 0 && above(e, best[place - 1]); --place) best[place] = best[place - 1];
      best[place] = e;
    }
  }
}

Tensor topk_columns(const Tensor& scores_TE, int64_t k) {
  if (!scores_TE.is_cpu()) {
    const Tensor comparable_TE = at::nan_to_num(scores_TE, -INFINITY, INFINITY, -INFINITY);
    return std::get<1>(at::sort(comparable_TE, /*stable=*/true, /*dim=*/1, /*descending=*/true))
        .slice(1, 0, k);
  }
  const Tensor contiguous_TE = scores_TE.contiguous();
  const int64_t T = scores_TE.size(0), E = scores_TE.size(1);
  Tensor columns_TK = at::empty({T, k}, scores_TE.options().dtype(at::kLong));
  int64_t* columns = columns_TK.mutable_data_ptr<int64_t>();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, scores_TE.scalar_type(), "topk", [&] {
    const scalar_t* scores = contiguous_TE.const_data_ptr<scalar_t>();
    at::parallel_for(0, T, std::max<int64_t>(1, 16384 / (E + 1)), [&](int64_t begin, int64_t end) {
      topk_rows(scores, columns, E, k, begin, end);
    });
  });
  return columns_TK;
}

}  // namespace

Order counting_sort(const Tensor& ids_N, int64_t bins) {
  check(ids_N.dim() == 1 && ids_N.scalar_type() == at::kLong, "ops/counting_sort",
        "expected int64 ids of shape (N), got ", ids_N.scalar_type(), ' ', ids_N.sizes(),
        ". Flatten and cast them.");
  return ids_N.is_cpu() ? counting_sort_cpu(ids_N, bins) : counting_sort_any(ids_N, bins);
}

std::pair<Tensor, Tensor> topk(const Tensor& scores_TE, int64_t k) {
  check(scores_TE.dim() == 2 && k >= 1 && k <= scores_TE.size(1), "ops/topk",
        "expected scores (T, E) and k in [1, E], got shape ", scores_TE.sizes(), " and k=", k,
        ". Lower k.");
  const Tensor columns_TK = topk_columns(scores_TE.detach(), k);
  return {at::gather(scores_TE, 1, columns_TK), columns_TK};
}

}  // namespace moe::ops
