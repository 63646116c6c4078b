// N ids, E bins, T tokens or groups, K choices.
#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/diff.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/loops.h>
#include <moe/ops/order.h>

namespace moe::ops {

namespace {

/// How many of the ids are each number in [0, bins).
void count(const int64_t* ids, int64_t N, int64_t bins, int64_t* counts) {
  for (int64_t n = 0; n < N; ++n)
    if (static_cast<uint64_t>(ids[n]) < static_cast<uint64_t>(bins)) ++counts[ids[n]];
}

/// Counting sort on the CPU, one pass to count and one to place. With group_N the elements that
/// group t has in `groups` (T+1) leave t there.
Order counting_sort_cpu(const Tensor& ids_N, int64_t bins, const Tensor& groups, Tensor* group_N) {
  const Tensor contiguous_N = ids_N.contiguous();
  const int64_t N = contiguous_N.size(0);
  const int64_t* ids = contiguous_N.const_data_ptr<int64_t>();
  Order out{at::empty({N}, ids_N.options()), at::empty({N}, ids_N.options()),
            at::zeros({bins + 1}, ids_N.options())};
  int64_t* order = out.order_N.mutable_data_ptr<int64_t>();
  int64_t* position = out.position_N.mutable_data_ptr<int64_t>();
  int64_t* offsets = out.offsets_E.mutable_data_ptr<int64_t>();

  count(ids, N, bins, offsets + 1);
  for (int64_t e = 0; e < bins; ++e) offsets[e + 1] += offsets[e];

  std::vector<int64_t> next(offsets, offsets + bins);
  int64_t outside = offsets[bins];
  const auto place = [&](int64_t n) {
    const bool in = static_cast<uint64_t>(ids[n]) < static_cast<uint64_t>(bins);
    const int64_t to = in ? next[static_cast<size_t>(ids[n])]++ : outside++;
    order[to] = n;
    position[n] = in ? to : -1;
    return to;
  };
  if (!group_N) {
    for (int64_t n = 0; n < N; ++n) place(n);
    return out;
  }
  int64_t* group = group_N->mutable_data_ptr<int64_t>();
  const int64_t* first = groups.const_data_ptr<int64_t>();
  for (int64_t t = 0; t + 1 < groups.size(0); ++t)
    for (int64_t n = first[t]; n < first[t + 1]; ++n) group[place(n)] = t;
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
  const int64_t grain = std::max<int64_t>(1, 16384 / (E + 1));
  if (cpu::loops_take(scores_TE)) {
    const float* scores = contiguous_TE.const_data_ptr<float>();
    const auto& kernels = cpu::kernels().choice;
    at::parallel_for(0, T, grain, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) kernels.largest(E, scores + t * E, k, columns + t * k);
    });
    return columns_TK;
  }
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, scores_TE.scalar_type(), "topk", [&] {
    const scalar_t* scores = contiguous_TE.const_data_ptr<scalar_t>();
    at::parallel_for(0, T, grain, [&](int64_t begin, int64_t end) {
      topk_rows(scores, columns, E, k, begin, end);
    });
  });
  return columns_TK;
}

void check_ids(std::string_view place, const Tensor& ids_N) {
  check(ids_N.dim() == 1 && ids_N.scalar_type() == at::kLong, place,
        "expected int64 ids of shape (N), got ", ids_N.scalar_type(), ' ', ids_N.sizes(),
        ". Flatten and cast them.");
}

}  // namespace

Order counting_sort(const Tensor& ids_N, int64_t bins) {
  check_ids("ops/counting_sort", ids_N);
  return ids_N.is_cpu() ? counting_sort_cpu(ids_N, bins, {}, nullptr)
                        : counting_sort_any(ids_N, bins);
}

std::pair<Order, Tensor> counting_sort_groups(const Tensor& ids_N, const Tensor& offsets_T1,
                                              int64_t bins) {
  check_ids("ops/counting_sort", ids_N);
  check_ids("ops/counting_sort", offsets_T1);
  if (!ids_N.is_cpu()) {
    const Order order = counting_sort_any(ids_N, bins);
    const Tensor group_N = at::repeat_interleave(offsets_T1.diff(), /*output_size=*/ids_N.size(0));
    return {order, group_N.index_select(0, order.order_N)};
  }
  const Tensor groups = offsets_T1.contiguous();
  const int64_t *first = groups.const_data_ptr<int64_t>(), T = groups.size(0) - 1;
  check(
      T >= 0 && first[0] == 0 && first[T] == ids_N.size(0) && std::is_sorted(first, first + T + 1),
      "ops/counting_sort", "expected offsets that rise from 0 to ", ids_N.size(0),
      " ids, got others. Pass them as the routing holds them.");
  Tensor group_N = at::empty_like(ids_N, at::MemoryFormat::Contiguous);
  return {counting_sort_cpu(ids_N, bins, groups, &group_N), group_N};
}

Tensor count_ids(const Tensor& ids_N, int64_t bins) {
  check_ids("ops/count_ids", ids_N);
  if (!ids_N.is_cpu()) {
    const Tensor bin_N = at::where(ids_N.ge(0).logical_and(ids_N.lt(bins)), ids_N, bins);
    return at::bincount(bin_N, {}, bins + 1).slice(0, 0, bins);
  }
  Tensor counts_E = at::zeros({bins}, ids_N.options());
  count(ids_N.contiguous().const_data_ptr<int64_t>(), ids_N.size(0), bins,
        counts_E.mutable_data_ptr<int64_t>());
  return counts_E;
}

std::pair<Tensor, Tensor> topk(const Tensor& scores_TE, int64_t k) {
  check(scores_TE.dim() == 2 && k >= 1 && k <= scores_TE.size(1), "ops/topk",
        "expected scores (T, E) and k in [1, E], got shape ", scores_TE.sizes(), " and k=", k,
        ". Lower k.");
  const Tensor columns_TK = topk_columns(scores_TE.detach(), k);
  return {at::gather(scores_TE, 1, columns_TK), columns_TK};
}

}  // namespace moe::ops
