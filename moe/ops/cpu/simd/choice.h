#pragma once
// Softmax, sigmoid, their gradients and the K largest of a row, written once over Lanes
// (lanes_*.h). In an unnamed namespace: see avx512.h.

#include <cmath>

#include <moe/ops/cpu/choice_kernels.h>
#include <moe/ops/cpu/simd/hidden.h>

namespace moe::ops::cpu {

namespace {

/// e^x for x <= 0. The polynomial's value at -87 is subtracted, so that e^x is exactly 0 below. NaN
/// stays one.
template <class Lanes, class V = typename Lanes::V>
V decay(V x) {
  return Lanes::subtract(exponential<Lanes>(x), exponential<Lanes>(Lanes::all(-87)));
}

template <class Lanes>
float row_maximum(int64_t n, const float* l) {
  auto most = Lanes::all(-INFINITY);
  // larger() gives its second argument for a NaN: those are passed over.
  for (int64_t i = 0; i < n; i += Lanes::kWidth)
    most = Lanes::larger(Lanes::load_or(l + i, n - i, -INFINITY), most);
  return Lanes::largest(most);
}

template <class Lanes>
void softmax(int64_t n, const float* l, float* p) {
  constexpr int W = Lanes::kWidth;
  const auto most = Lanes::all(row_maximum<Lanes>(n, l));
  const auto power = [&](int64_t i) {
    return decay<Lanes>(Lanes::subtract(Lanes::load_or(l + i, n - i, -INFINITY), most));
  };
  if (n <= W) {
    const auto e = power(0);
    return Lanes::store_first(p, n, Lanes::multiply(e, Lanes::all(1 / Lanes::sum(e))));
  }
  auto total = Lanes::zero();
  for (int64_t i = 0; i < n; i += W) {
    const auto e = power(i);
    total = Lanes::add(total, e);
    Lanes::store_first(p + i, n - i, e);
  }
  const auto share = Lanes::all(1 / Lanes::sum(total));
  for (int64_t i = 0; i < n; i += W)
    Lanes::store_first(p + i, n - i, Lanes::multiply(Lanes::load_first(p + i, n - i), share));
}

template <class Lanes>
void sigmoid(int64_t n, const float* l, float* s) {
  const auto one = Lanes::all(1);
  for (int64_t i = 0; i < n; i += Lanes::kWidth) {
    const auto x = Lanes::load_first(l + i, n - i);
    const auto e = decay<Lanes>(Lanes::subtract(Lanes::zero(), Lanes::absolute(x)));
    const auto top = Lanes::where_above(x, Lanes::zero(), one, e);
    Lanes::store_first(s + i, n - i, Lanes::divide(top, Lanes::add(one, e)));
  }
}

/// What at least k values of the row reach: the k-th largest of the lanes' maxima, each of which is
/// one of the row; -inf when there are too few.
template <class Lanes>
float lower_bound(int64_t n, const float* values, int64_t k) {
  constexpr int W = Lanes::kWidth;
  if (k > W) return -INFINITY;
  auto most = Lanes::all(-INFINITY);
  for (int64_t i = 0; i < n; i += W)
    most = Lanes::larger(Lanes::load_or(values + i, n - i, -INFINITY), most);
  float lanes[W];
  Lanes::store(lanes, most);
  // Rank of each lane: how many are above it.
  const auto one = Lanes::all(1), none = Lanes::zero();
  auto rank = none;
#pragma GCC unroll 16
  for (int j = 0; j < W; ++j)
    rank = Lanes::add(rank, Lanes::where_above(Lanes::all(lanes[j]), most, one, none));
  return Lanes::smallest(
      Lanes::where_above(Lanes::all(static_cast<float>(k)), rank, most, Lanes::all(INFINITY)));
}

/// The ids of values in one register, which holds no NaN, the largest first: how many come before a
/// value is its place. No branch depends on the values.
template <class Lanes>
void order_of_few(int64_t n, const float* values, typename Lanes::V all_values, int64_t k,
                  int64_t* ids) {
  int64_t ordered[Lanes::kWidth];
  for (int64_t id = 0; id < n; ++id) {
    const auto value = Lanes::all(values[id]);
    const uint32_t lower_ids = (uint32_t{1} << id) - 1;
    const uint32_t before =
        Lanes::above(all_values, value) | (Lanes::at_least(all_values, value) & lower_ids);
    ordered[__builtin_popcount(before)] = id;
  }
  for (int64_t j = 0; j < k; ++j) ids[j] = ordered[j];
}

template <class Lanes>
void largest(int64_t n, const float* values, int64_t k, int64_t* ids) {
  constexpr int W = Lanes::kWidth;
  if (n <= W) {
    const auto x = Lanes::load_or(values, n, -INFINITY);
    if (Lanes::at_least(x, x) == (uint32_t{1} << W) - 1)
      return order_of_few<Lanes>(n, values, x, k, ids);
  }
  int64_t found = 0;
  // Values not above the K-th best so far are skipped, a register at a time.
  auto bound = Lanes::all(lower_bound<Lanes>(n, values, k));
  for (int64_t i = 0; i < n; i += W) {
    const auto x = Lanes::load_or(values + i, n - i, NAN);
    uint32_t hits = found < k ? Lanes::at_least(x, bound) : Lanes::above(x, bound);
    if (hits == 0) continue;
    for (; hits != 0; hits &= hits - 1) {
      const int64_t id = i + __builtin_ctz(hits);
      const float value = values[id];
      if (found == k && !(value > values[ids[k - 1]])) continue;
      int64_t place = found < k ? found++ : k - 1;
      for (; place > 0 && value > values[ids[place - 1]]; --place) ids[place] = ids[place - 1];
      ids[place] = id;
    }
    if (found == k) bound = Lanes::all(values[ids[k - 1]]);
  }
  for (int64_t id = 0; found < k; ++id)
    if (values[id] != values[id]) ids[found++] = id;
}

template <class Lanes>
float sum(int64_t n, const float* a) {
  auto total = Lanes::zero();
  for (int64_t i = 0; i < n; i += Lanes::kWidth)
    total = Lanes::add(total, Lanes::load_first(a + i, n - i));
  return Lanes::sum(total);
}

template <class Lanes>
float log_sum_exp(int64_t n, const float* l) {
  const float most = row_maximum<Lanes>(n, l);
  if (__builtin_isinf(most)) {
    for (int64_t i = 0; i < n; ++i)
      if (l[i] != l[i]) return l[i];
    return most;
  }
  auto total = Lanes::zero();
  for (int64_t i = 0; i < n; i += Lanes::kWidth)
    total = Lanes::add(total, decay<Lanes>(Lanes::subtract(Lanes::load_or(l + i, n - i, -INFINITY),
                                                           Lanes::all(most))));
  return most + __builtin_logf(Lanes::sum(total));
}

template <class Lanes>
void softmax_backward(int64_t n, const float* p, const float* dp, float mean, float factor,
                      const float* more, float* dl) {
  const auto off = Lanes::all(-mean), scale = Lanes::all(factor);
  for (int64_t i = 0; i < n; i += Lanes::kWidth) {
    const auto slope = dp ? Lanes::add(Lanes::load_first(dp + i, n - i), off) : off;
    auto out = Lanes::multiply(Lanes::multiply(Lanes::load_first(p + i, n - i), slope), scale);
    if (more) out = Lanes::add(out, Lanes::load_first(more + i, n - i));
    Lanes::store_first(dl + i, n - i, out);
  }
}

template <class Lanes>
void sigmoid_backward(int64_t n, const float* s, const float* ds, const float* more, float* dl) {
  const auto one = Lanes::all(1);
  for (int64_t i = 0; i < n; i += Lanes::kWidth) {
    auto out = Lanes::zero();
    if (ds) {
      const auto x = Lanes::load_first(s + i, n - i);
      out = Lanes::multiply(Lanes::load_first(ds + i, n - i),
                            Lanes::multiply(x, Lanes::subtract(one, x)));
    }
    if (more) out = Lanes::add(out, Lanes::load_first(more + i, n - i));
    Lanes::store_first(dl + i, n - i, out);
  }
}

template <class Lanes>
void exponential_row(int64_t n, const float* l, float lse, float factor, float* dl) {
  const auto off = Lanes::all(lse), scale = Lanes::all(factor);
  for (int64_t i = 0; i < n; i += Lanes::kWidth)
    Lanes::store_first(dl + i, n - i,
                       Lanes::multiply(scale, decay<Lanes>(Lanes::subtract(
                                                  Lanes::load_first(l + i, n - i), off))));
}

/// The compiler's own vectors: it converts between widths better than the wrapper could say.
template <class Lanes>
void add_to(int64_t n, const float* a, double factor, double* sums) {
  for (int64_t i = 0; i < n; ++i) sums[i] += factor * static_cast<double>(a[i]);
}

/// `Rows` at a time, so that `out` is not read and written for each.
template <class Lanes, int Rows>
void add_rows(int64_t n, const float* const* row, const float* weight, bool first, float* out) {
  typename Lanes::V factor[Rows];
  for (int r = 0; r < Rows; ++r) factor[r] = Lanes::all(weight[r]);
  for (int64_t i = 0; i < n; i += Lanes::kWidth) {
    auto total = first ? Lanes::zero() : Lanes::load_first(out + i, n - i);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r)
      total = Lanes::fma(factor[r], Lanes::load_first(row[r] + i, n - i), total);
    Lanes::store_first(out + i, n - i, total);
  }
}

template <class Lanes>
void weighted_sum(int64_t n, int64_t count, const float* rows, const int64_t* index,
                  const float* weights, float* out) {
  constexpr void (*kAdd[])(int64_t, const float* const*, const float*, bool, float*) = {
      add_rows<Lanes, 1>, add_rows<Lanes, 2>, add_rows<Lanes, 3>, add_rows<Lanes, 4>};
  if (count == 0)
    for (int64_t i = 0; i < n; ++i) out[i] = 0;
  for (int64_t j = 0; j < count; j += 4) {
    const int64_t some = count - j < 4 ? count - j : 4;
    const float* row[4];
    for (int64_t r = 0; r < some; ++r) row[r] = rows + index[j + r] * n;
    kAdd[some - 1](n, row, weights + j, j == 0, out);
  }
}

template <class Lanes>
ChoiceKernels choice_kernels() {
  return {softmax<Lanes>,         sigmoid<Lanes>, largest<Lanes>,          log_sum_exp<Lanes>,
          dot<Lanes, float>,      sum<Lanes>,     softmax_backward<Lanes>, sigmoid_backward<Lanes>,
          exponential_row<Lanes>, add_to<Lanes>,  weighted_sum<Lanes>};
}

}  // namespace

}  // namespace moe::ops::cpu
