// R rows, M rows of one expert, E experts, D in, F hidden, H = F or 2F, O out.
#include <algorithm>
#include <cstring>
#include <utility>

#include <moe/ops/cpu/expert_mlp.h>
#include <moe/ops/cpu/product.h>
#include <moe/ops/cpu/waves.h>
#include <moe/ops/cpu/workspace.h>

namespace moe::ops::cpu {

namespace {

/// What is larger than this is not read again while it is in a cache.
constexpr int64_t kFarBytes = 16 << 20;

template <class T>
bool is_far(int64_t elements) {
  return elements * static_cast<int64_t>(sizeof(T)) > kFarBytes;
}

/// p + i, or null for null.
template <class T>
T* at(T* p, int64_t i) {
  return p ? p + i : nullptr;
}

/// The products of experts, one list of one kind after another.
template <class T>
struct Products {
  const ProductKernels<T>& kernels;
  const Experts& experts;
  std::vector<Product<T>> list = {};

  /// A finish that adds a bias (none when null) and writes to its place what tiles do not.
  auto store_to(const Plain<T>& to, const T* bias = nullptr) const {
    const auto store = to.put == Put::kFar ? kernels.store_far : kernels.store;
    return [store, to, bias](const Block& block, const Sums& sums) {
      for (int64_t r = 0; r < block.rows; ++r)
        store(block.columns, sums.sums + r * sums.stride, bias ? bias + block.column : nullptr,
              to.out + (block.row + r) * to.stride + block.column);
    };
  }

  /// out[r] = w[e] x[r] + b[e] for the rows of expert e; x and out begin with them, w (E, out, in).
  void add_product(int64_t e, RowsOf<T> x, const T* w, const T* b, int64_t in, int64_t out_width,
                   T* out, const Gates& gates = {}) {
    const Plain<T> to = {out, out_width};
    list.push_back({{x, true},
                    {{w + e * out_width * in, in}, true},
                    experts.rows(e),
                    out_width,
                    in,
                    1,
                    store_to(to, at(b, e * out_width)),
                    b ? Plain<T>{} : to,
                    {},
                    gates});
  }

  /// drow[r] = dout[r] w[e]. Nothing where drow, of all rows, is null.
  void add_back(int64_t e, const T* dout, const T* w, int64_t in, int64_t out_width, T* drow,
                const Gates& gates = {}) {
    if (!drow) return;
    const Plain<T> to = {drow + experts.begin(e) * in, in};
    list.push_back({{RowsOf<T>{dout, out_width}.from(experts.begin(e)), true},
                    {{w + e * out_width * in, in}, false},
                    experts.rows(e),
                    in,
                    out_width,
                    1,
                    store_to(to),
                    to,
                    {},
                    gates});
  }

  /// The same for float32 sums of products of another type.
  static auto store_sums_to(const Plain<float>& to, const ProductKernels<float>& kernels) {
    const auto store = to.put == Put::kFar ? kernels.store_far : kernels.store;
    return [store, to](const Block& block, const Sums& sums) {
      for (int64_t r = 0; r < block.rows; ++r)
        store(block.columns, sums.sums + r * sums.stride, nullptr,
              to.out + (block.row + r) * to.stride + block.column);
    };
  }

  /// How a gradient of `size` elements an expert is written.
  template <class Out>
  Put put_of(int64_t size) const {
    return is_far<Out>(experts.count * size) ? Put::kFar : Put::kNear;
  }

  /// dw[e] = sum over the rows of e of dout[r] x[r], in their order; x begins with them.
  void add_of_weights(int64_t e, RowsOf<T> dout, RowsOf<T> x, int64_t in, int64_t out_width,
                      const WeightGradient<T>& dw, const ProductKernels<float>* sum_kernels,
                      const Gates& gates) {
    if (!dw.rounded && !dw.sums) return;
    const int64_t size = out_width * in;
    Product<T> product = {{dout.from(experts.begin(e)), false},
                          {x, false},
                          out_width,
                          in,
                          experts.rows(e),
                          1,
                          {},
                          {},
                          {},
                          gates};
    if (dw.sums) {
      product.plain_sums = {dw.sums + e * size, in, put_of<float>(size)};
      product.finish = store_sums_to(product.plain_sums, *sum_kernels);
    } else {
      product.plain = {dw.rounded + e * size, in, put_of<T>(size)};
      product.finish = store_to(product.plain);
    }
    list.push_back(std::move(product));
  }

  void run() const { cpu::run(list, kernels); }
};

/// Calls function(e) for the experts of a wave that have rows.
template <class Function>
void for_each_busy(const Experts& experts, const Wave& wave, const Function& function) {
  for (int64_t e = wave.first; e < wave.last; ++e)
    if (experts.rows(e) > 0) function(e);
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

/// db[e] = the sum of the rows of e times their weights (null: 1), in their order.
template <class T>
void sum_rows(const ProductKernels<T>& kernels, const Experts& experts, RowsOf<T> rows,
              const float* weight_R, int64_t width, T* db) {
  if (!db) return;
  for_each_item(experts.count, [&](int64_t e) {
    const Workspace memory(static_cast<size_t>(width) * sizeof(float));
    float* const sum = memory.as<float>();
    std::fill(sum, sum + width, 0.0f);
    for (int64_t r = experts.begin(e); r < experts.begin(e + 1); ++r)
      kernels.add_scaled(width, weight_R ? weight_R[r] : 1.0f, rows.row(r), sum, false);
    kernels.store(width, sum, nullptr, db + e * width);
  });
}

/// out[r] . dout[r] of all rows: h . (w_out' dout), which the products leave in `parts` numbers a
/// row, plus b_out . dout.
template <class T>
void sum_dots(const ProductKernels<T>& kernels, const Experts& experts, const MlpWeights<T>& w,
              const float* dots, int64_t parts, const OutputGradients<T>& dout) {
  for_each_item(dout.dweight_R ? experts.count : 0, [&](int64_t e) {
    for (int64_t r = experts.begin(e); r < experts.begin(e + 1); ++r) {
      float sum = w.b_out ? kernels.dot(w.O, w.b_out + e * w.O, dout.rows.row(r)) : 0.0f;
      for (int64_t i = 0; i < parts; ++i) sum += dots[r * parts + i];
      dout.dweight_R[r] = sum;
    }
  });
}

}  // namespace

template <class T>
void mlp_forward(const ProductKernels<T>& kernels, const Experts& experts, const MlpWeights<T>& w,
                 RowsOf<T> x, const T* keep_RF, T* pre_RH, T* out_RO) {
  const int64_t F = w.F, H = w.H();
  const Waves waves(experts);
  const Workspace memory(static_cast<size_t>(out_RO ? waves.rows() * F : 0) * sizeof(T));
  T* const hidden_RF = out_RO ? memory.as<T>() : nullptr;
  const bool far = is_far<T>(experts.begin(experts.count) * H);

  Products<T> products{kernels, experts};
  const auto first = [&](int64_t wave, const Wave& those, const Gates& gates) {
    for_each_busy(experts, those, [&](int64_t e) {
      const int64_t first = experts.begin(e);
      T* const hidden_PF = at(hidden_RF, waves.row(wave, experts, e) * F);
      const T* const b_H = at(w.b_in, e * H);
      const auto finish = [=, &kernels](const Block& block, const Sums& sums) {
        for (int64_t i = 0; i < block.rows; ++i) {
          const int64_t p = block.row + i, r = first + p, c = block.column;
          const float* const gate = sums.sums + i * sums.stride;
          kernels.forward(
              w.activation,
              {block.columns, gate, w.gated ? gate + sums.half : nullptr, at(b_H, c),
               w.gated ? at(b_H, F + c) : nullptr, at(keep_RF, r * F + c), at(pre_RH, r * H + c),
               w.gated ? at(pre_RH, r * H + F + c) : nullptr, at(hidden_PF, p * F + c), far});
        }
      };
      products.list.push_back({{x.from(first), true},
                               {{w.w_in + e * H * w.D, w.D}, true},
                               experts.rows(e),
                               F,
                               w.D,
                               w.gated ? 2 : 1,
                               finish,
                               {},
                               {},
                               gates});
    });
  };
  const auto second = [&](int64_t wave, const Wave& those, const Gates& gates) {
    if (!out_RO) return;
    for_each_busy(experts, those, [&](int64_t e) {
      products.add_product(e, {hidden_RF + waves.row(wave, experts, e) * F, F}, w.w_out, w.b_out, F,
                           w.O, out_RO + experts.begin(e) * w.O, gates);
    });
  };
  waves.in_order(first, second);
  products.run();
}

template <class T>
void mlp_backward(const ProductKernels<T>& kernels, const ProductKernels<float>& sum_kernels,
                  const Experts& experts, const MlpWeights<T>& w, RowsOf<T> x, const T* keep_RF,
                  T* pre_RH, const OutputGradients<T>& dout, const MlpGradients<T>& out) {
  const int64_t D = w.D, F = w.F, H = w.H(), O = w.O;
  const Waves waves(experts);
  const Workspace memory(static_cast<size_t>(waves.rows() * F) * sizeof(T));
  T *const hidden_RF = memory.as<T>(), *const dpre_RH = pre_RH;
  // A part for every tile, so that neither blocks nor threads change a sum.
  const int64_t parts = dout.dweight_R ? (F + kernels.columns - 1) / kernels.columns : 0;
  const Workspace parts_memory(static_cast<size_t>(experts.begin(experts.count) * parts) *
                               sizeof(float));
  float* const dots = parts > 0 ? parts_memory.as<float>() : nullptr;

  Products<T> products{kernels, experts};
  const auto first = [&](int64_t wave, const Wave& those, const Gates& gates) {
    for_each_busy(experts, those, [&](int64_t e) {
      const int64_t first = experts.begin(e);
      T* const hidden_PF = hidden_RF + waves.row(wave, experts, e) * F;
      const auto finish = [=, &kernels](const Block& block, const Sums& sums) {
        for (int64_t i = 0; i < block.rows; ++i) {
          const int64_t p = block.row + i, r = first + p, c = block.column, gate = r * H + c;
          kernels.backward(
              w.activation,
              {block.columns, sums.sums + i * sums.stride, pre_RH + gate,
               w.gated ? pre_RH + gate + F : nullptr, at(keep_RF, r * F + c), dpre_RH + gate,
               w.gated ? dpre_RH + gate + F : nullptr, hidden_PF + p * F + c,
               dout.weight_R ? dout.weight_R[r] : 1.0f, at(dots, r * parts + c / kernels.columns)});
        }
      };
      products.list.push_back({{dout.rows.from(first), true},
                               {{w.w_out + e * O * F, F}, false},
                               experts.rows(e),
                               F,
                               O,
                               1,
                               finish,
                               {},
                               {},
                               gates});
    });
  };
  const auto second = [&](int64_t wave, const Wave& those, const Gates& gates) {
    for_each_busy(experts, those, [&](int64_t e) {
      products.add_back(e, dpre_RH, w.w_in, D, H, out.drow_RD, gates);
      products.add_of_weights(e, dout.rows, {hidden_RF + waves.row(wave, experts, e) * F, F}, F, O,
                              out.dw_out, &sum_kernels, gates);
      products.add_of_weights(e, {dpre_RH, H}, x.from(experts.begin(e)), D, H, out.dw_in,
                              &sum_kernels, gates);
    });
  };
  waves.in_order(first, second);
  products.run();

  clear_idle(experts, out.dw_in.rounded, H * D);
  clear_idle(experts, out.dw_in.sums, H * D);
  clear_idle(experts, out.dw_out.rounded, O * F);
  clear_idle(experts, out.dw_out.sums, O * F);
  sum_rows<T>(kernels, experts, {dpre_RH, H}, nullptr, H, out.db_in);
  sum_rows(kernels, experts, dout.rows, dout.weight_R, O, out.db_out);
  sum_dots(kernels, experts, w, dots, parts, dout);
}

template <class T>
void linear_forward(const ProductKernels<T>& kernels, const Experts& experts, const T* w_EOD,
                    const T* b_EO, int64_t D, int64_t O, RowsOf<T> x, T* out_RO) {
  Products<T> products{kernels, experts};
  for_each_busy(experts, {0, experts.count, 0, 0}, [&](int64_t e) {
    products.add_product(e, x.from(experts.begin(e)), w_EOD, b_EO, D, O,
                         out_RO + experts.begin(e) * O);
  });
  products.run();
}

template <class T>
void linear_backward(const ProductKernels<T>& kernels, const Experts& experts, const T* w_EOD,
                     int64_t D, int64_t O, RowsOf<T> x, const T* dout_RO,
                     const LinearGradients<T>& out) {
  Products<T> products{kernels, experts};
  for_each_busy(experts, {0, experts.count, 0, 0}, [&](int64_t e) {
    products.add_back(e, dout_RO, w_EOD, D, O, out.drow_RD);
    products.add_of_weights(e, {dout_RO, O}, x.from(experts.begin(e)), D, O, {out.dw_EOD},
                            nullptr, {});
  });
  products.run();
  clear_idle(experts, out.dw_EOD, O * D);
  sum_rows<T>(kernels, experts, {dout_RO, O}, nullptr, O, out.db_EO);
}

#define MOE_INSTANTIATE(T)                                                                      \
  template void mlp_forward<T>(const ProductKernels<T>&, const Experts&, const MlpWeights<T>&,  \
                               RowsOf<T>, const T*, T*, T*);                                    \
  template void mlp_backward<T>(const ProductKernels<T>&, const ProductKernels<float>&,         \
                                const Experts&, const MlpWeights<T>&, RowsOf<T>, const T*, T*,  \
                                const OutputGradients<T>&, const MlpGradients<T>&);             \
  template void linear_forward<T>(const ProductKernels<T>&, const Experts&, const T*, const T*, \
                                  int64_t, int64_t, RowsOf<T>, T*);                             \
  template void linear_backward<T>(const ProductKernels<T>&, const Experts&, const T*, int64_t, \
                                   int64_t, RowsOf<T>, const T*, const LinearGradients<T>&);
MOE_INSTANTIATE(float)
MOE_INSTANTIATE(BFloat16)
#undef MOE_INSTANTIATE

}  // namespace moe::ops::cpu
