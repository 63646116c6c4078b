// R rows, M rows of one expert, E experts, D in, F hidden, H = F or 2F, O out.
#include <algorithm>
#include <cstring>

#include <moe/ops/cpu/expert_mlp.h>
#include <moe/ops/cpu/product.h>
#include <moe/ops/cpu/workspace.h>

namespace moe::ops::cpu {

namespace {

template <class T>
using Products = std::vector<Product<T>>;

/// A finish that adds a bias (none when null) and writes to rows at `out`, `width` wide.
template <class T>
auto store_to(const ProductKernels<T>& kernels, T* out, int64_t width, const T* bias) {
  return [&kernels, out, width, bias](const Block& block, const Sums& sums) {
    for (int64_t r = 0; r < block.rows; ++r)
      kernels.store(block.columns, sums.sums + r * sums.stride,
                    bias ? bias + block.column : nullptr,
                    out + (block.row + r) * width + block.column);
  };
}

/// p + i, or null for null.
template <class T>
T* at(T* p, int64_t i) {
  return p ? p + i : nullptr;
}

/// out[r] = w[e] x[r] + b[e], w (E, out, in).
template <class T>
void add_products_with(Products<T>& products, const ProductKernels<T>& kernels,
                       const Experts& experts, RowsOf<T> x, const T* w, const T* b, int64_t in,
                       int64_t out_width, T* out) {
  for (int64_t e = 0; e < experts.count; ++e)
    if (experts.rows(e) > 0)
      products.push_back(
          {{x.from(experts.begin(e)), true},
           {{w + e * out_width * in, in}, true},
           experts.rows(e),
           out_width,
           in,
           1,
           store_to(kernels, out + experts.begin(e) * out_width, out_width, at(b, e * out_width))});
}

/// drow[r] = dout[r] w[e].
template <class T>
void add_products_back(Products<T>& products, const ProductKernels<T>& kernels,
                       const Experts& experts, const T* dout, const T* w, int64_t in,
                       int64_t out_width, T* drow) {
  for (int64_t e = 0; e < experts.count; ++e)
    if (experts.rows(e) > 0)
      products.push_back(
          {{RowsOf<T>{dout, out_width}.from(experts.begin(e)), true},
           {{w + e * out_width * in, in}, false},
           experts.rows(e),
           in,
           out_width,
           1,
           store_to(kernels, drow + experts.begin(e) * in, in, static_cast<const T*>(nullptr))});
}

/// dw[e] = sum over the rows of e of dout[r] x[r], in their order.
template <class T>
void add_products_of_weights(Products<T>& products, const ProductKernels<T>& kernels,
                             const Experts& experts, const T* dout, RowsOf<T> x, int64_t in,
                             int64_t out_width, T* dw) {
  for (int64_t e = 0; e < experts.count; ++e)
    if (experts.rows(e) > 0)
      products.push_back(
          {{RowsOf<T>{dout, out_width}.from(experts.begin(e)), false},
           {x.from(experts.begin(e)), false},
           out_width,
           in,
           experts.rows(e),
           1,
           store_to(kernels, dw + e * out_width * in, in, static_cast<const T*>(nullptr))});
}

/// Zeroes the (E, size) gradient of experts that met no row.
template <class T>
void clear_idle(const Experts& experts, T* gradient, int64_t size) {
  if (!gradient) return;
  for_each_item(experts.count, [&](int64_t e) {
    if (experts.rows(e) == 0)
      std::memset(static_cast<void*>(gradient + e * size), 0,
                  static_cast<size_t>(size) * sizeof(T));
  });
}

/// db[e] = the sum of the rows of e, in their order.
template <class T>
void sum_rows(const ProductKernels<T>& kernels, const Experts& experts, const T* rows,
              int64_t width, T* db) {
  if (!db) return;
  for_each_item(experts.count, [&](int64_t e) {
    const Workspace memory(static_cast<size_t>(width) * sizeof(float));
    float* const sum = memory.as<float>();
    std::fill(sum, sum + width, 0.0f);
    const auto mine = RowsOf<T>{rows, width}.from(experts.begin(e));
    for (int64_t r = 0; r < experts.rows(e); ++r) kernels.add(width, mine.row(r), sum);
    kernels.store(width, sum, nullptr, db + e * width);
  });
}

}  // namespace

template <class T>
void mlp_forward(const ProductKernels<T>& kernels, const Experts& experts, const MlpWeights<T>& w,
                 RowsOf<T> x, const T* keep_RF, T* pre_RH, T* out_RO) {
  const int64_t F = w.F, H = w.H(), R = experts.offsets_E[experts.count];
  const Workspace memory(static_cast<size_t>(R * F) * sizeof(T));
  T* const hidden_RF = memory.as<T>();

  Products<T> products;
  for (int64_t e = 0; e < experts.count; ++e) {
    if (experts.rows(e) == 0) continue;
    const int64_t first = experts.begin(e);
    const T* const b_H = at(w.b_in, e * H);
    const auto finish = [=, &kernels](const Block& block, const Sums& sums) {
      for (int64_t i = 0; i < block.rows; ++i) {
        const int64_t r = first + block.row + i, c = block.column;
        const float* const gate = sums.sums + i * sums.stride;
        kernels.forward(
            w.activation,
            {block.columns, gate, w.gated ? gate + sums.half : nullptr, at(b_H, c),
             w.gated ? at(b_H, F + c) : nullptr, at(keep_RF, r * F + c), at(pre_RH, r * H + c),
             w.gated ? at(pre_RH, r * H + F + c) : nullptr, hidden_RF + r * F + c});
      }
    };
    products.push_back({{x.from(experts.begin(e)), true},
                        {{w.w_in + e * H * w.D, w.D}, true},
                        experts.rows(e),
                        F,
                        w.D,
                        w.gated ? 2 : 1,
                        finish});
  }
  run(products, kernels);

  products.clear();
  add_products_with(products, kernels, experts, RowsOf<T>{hidden_RF, F}, w.w_out, w.b_out, F, w.O,
                    out_RO);
  run(products, kernels);
}

template <class T>
void mlp_backward(const ProductKernels<T>& kernels, const Experts& experts, const MlpWeights<T>& w,
                  RowsOf<T> x, const T* keep_RF, const T* pre_RH, const T* dout_RO,
                  const MlpGradients<T>& out) {
  const int64_t D = w.D, F = w.F, H = w.H(), O = w.O, R = experts.offsets_E[experts.count];
  const Workspace memory(static_cast<size_t>(R * (F + H)) * sizeof(T));
  T *const hidden_RF = memory.as<T>(), *const dpre_RH = hidden_RF + R * F;

  Products<T> products;
  for (int64_t e = 0; e < experts.count; ++e) {
    if (experts.rows(e) == 0) continue;
    const int64_t first = experts.begin(e);
    const auto finish = [=, &kernels](const Block& block, const Sums& sums) {
      for (int64_t i = 0; i < block.rows; ++i) {
        const int64_t r = first + block.row + i, c = block.column, gate = r * H + c;
        kernels.backward(
            w.activation,
            {block.columns, sums.sums + i * sums.stride, pre_RH + gate,
             w.gated ? pre_RH + gate + F : nullptr, at(keep_RF, r * F + c), dpre_RH + gate,
             w.gated ? dpre_RH + gate + F : nullptr, hidden_RF + r * F + c});
      }
    };
    products.push_back({{RowsOf<T>{dout_RO, O}.from(experts.begin(e)), true},
                        {{w.w_out + e * O * F, F}, false},
                        experts.rows(e),
                        F,
                        O,
                        1,
                        finish});
  }
  run(products, kernels);

  products.clear();
  add_products_back(products, kernels, experts, dpre_RH, w.w_in, D, H, out.drow_RD);
  add_products_of_weights(products, kernels, experts, dout_RO, RowsOf<T>{hidden_RF, F}, F, O,
                          out.dw_out);
  add_products_of_weights(products, kernels, experts, dpre_RH, x, D, H, out.dw_in);
  run(products, kernels);

  clear_idle(experts, out.dw_in, H * D);
  clear_idle(experts, out.dw_out, O * F);
  sum_rows(kernels, experts, dpre_RH, H, out.db_in);
  sum_rows(kernels, experts, dout_RO, O, out.db_out);
}

template <class T>
void linear_forward(const ProductKernels<T>& kernels, const Experts& experts, const T* w_EOD,
                    const T* b_EO, int64_t D, int64_t O, RowsOf<T> x, T* out_RO) {
  Products<T> products;
  add_products_with(products, kernels, experts, x, w_EOD, b_EO, D, O, out_RO);
  run(products, kernels);
}

template <class T>
void linear_backward(const ProductKernels<T>& kernels, const Experts& experts, const T* w_EOD,
                     int64_t D, int64_t O, RowsOf<T> x, const T* dout_RO,
                     const LinearGradients<T>& out) {
  Products<T> products;
  add_products_back(products, kernels, experts, dout_RO, w_EOD, D, O, out.drow_RD);
  add_products_of_weights(products, kernels, experts, dout_RO, x, D, O, out.dw_EOD);
  run(products, kernels);
  clear_idle(experts, out.dw_EOD, O * D);
  sum_rows(kernels, experts, dout_RO, O, out.db_EO);
}

#define MOE_INSTANTIATE(T)                                                                        \
  template void mlp_forward<T>(const ProductKernels<T>&, const Experts&, const MlpWeights<T>&,    \
                               RowsOf<T>, const T*, T*, T*);                                      \
  template void mlp_backward<T>(const ProductKernels<T>&, const Experts&, const MlpWeights<T>&,   \
                                RowsOf<T>, const T*, const T*, const T*, const MlpGradients<T>&); \
  template void linear_forward<T>(const ProductKernels<T>&, const Experts&, const T*, const T*,   \
                                  int64_t, int64_t, RowsOf<T>, T*);                               \
  template void linear_backward<T>(const ProductKernels<T>&, const Experts&, const T*, int64_t,   \
                                   int64_t, RowsOf<T>, const T*, const LinearGradients<T>&);
MOE_INSTANTIATE(float)
MOE_INSTANTIATE(BFloat16)
#undef MOE_INSTANTIATE

}  // namespace moe::ops::cpu
