// R rows, M rows of one expert, E experts, D in, F hidden, H = F or 2F, O out.
#include <algorithm>
#include <cstring>
#include <utility>

#include <moe/ops/cpu/expert_mlp.h>
#include <moe/ops/cpu/expert_pipeline.h>
#include <moe/ops/cpu/product.h>
#include <moe/ops/cpu/workspace.h>

namespace moe::ops::cpu {

namespace {

/// What is larger than this is not read again while it is in a cache: it is written past them.
constexpr int64_t kStreamingBytes = 16 << 20;

StoreMode store_mode(int64_t bytes) {
  return bytes > kStreamingBytes ? StoreMode::kStreaming : StoreMode::kCached;
}

/// p + i, or null for null.
template <class T>
T* at(T* p, int64_t i) {
  return p ? p + i : nullptr;
}

/// A finish that adds a bias (none when null) and writes to `to`, which holds numbers of type T,
/// what tiles do not.
template <class T>
auto store_to(const RowKernels<T>& kernels, const Destination& to, const T* bias = nullptr) {
  const auto store = to.mode == StoreMode::kStreaming ? kernels.store_streaming : kernels.store;
  return [store, bias, stride = to.stride, out = static_cast<T*>(to.out)](const Block& block,
                                                                          const Sums& sums) {
    for (int64_t r = 0; r < block.rows; ++r)
      store(block.columns, sums.sums + r * sums.stride, at(bias, block.column),
            out + (block.row + r) * stride + block.column);
  };
}

/// The products of experts, one list of one kind after another.
template <class T>
struct Products {
  static constexpr NumberFormat kFormat = kFormatOf<T>;

  const Kernels& kernels;
  const Experts& experts;
  std::vector<Product> list = {};

  void add(const Operand& a, const Operand& b, int64_t rows, int64_t columns, int64_t depth,
           const Dependencies& dependencies, const Destination& destination = {}) {
    Product& product = list.emplace_back();
    product.kernels = &kernels.product(a.matrix.format, b.matrix.format, depth);
    product.a = a;
    product.b = b;
    product.rows = rows;
    product.columns = columns;
    product.depth = depth;
    product.destination = destination;
    product.dependencies = dependencies;
    if (!destination.out) return;
    if (destination.format == NumberFormat::kFloat32)
      product.finish = store_to(kernels.float32, destination);
    else
      product.finish = store_to(kernels.bfloat16, destination);
  }

  /// out[r] = w x[r] + b[e] for the rows of expert e; x and out begin with them, w (width, in).
  void add_product(int64_t e, RowsOf<T> x, const Matrix& w, const T* b, int64_t in, int64_t width,
                   T* out, const Dependencies& dependencies = {}) {
    const Destination to = {out, width, kFormat};
    add({x.matrix(), true}, {w, true}, experts.rows(e), width, in, dependencies,
        b ? Destination{} : to);
    if (b) list.back().finish = store_to(kernels.of<T>(), to, b + e * width);
  }

  /// drow[r] = dout[r] w for the rows of expert e; w (width, in). Nothing where drow, of all rows,
  /// is null.
  void add_back(int64_t e, const T* dout, const Matrix& w, int64_t in, int64_t width, T* drow,
                const Dependencies& dependencies = {}) {
    if (!drow) return;
    add({RowsOf<T>{dout, width}.from(experts.begin(e)).matrix(), true}, {w, false}, experts.rows(e),
        in, width, dependencies, {drow + experts.begin(e) * in, in, kFormat});
  }

  /// dw[e] = sum over the rows of e of dout[r] x[r], in their order; x begins with them.
  void add_of_weights(int64_t e, RowsOf<T> dout, RowsOf<T> x, int64_t in, int64_t width,
                      const WeightGradient& dw, const Dependencies& dependencies = {}) {
    if (!dw.data) return;
    const int64_t bytes = bytes_of(dw.format, width * in);
    add({dout.from(experts.begin(e)).matrix(), false}, {x.matrix(), false}, width, in,
        experts.rows(e), dependencies,
        {static_cast<char*>(dw.data) + e * bytes, in, dw.format,
         store_mode(experts.count * bytes)});
  }

  void run() const { cpu::run(list); }
};

/// Calls function(e) for the active experts of a batch: those that have rows.
template <class Function>
void for_each_active(const Experts& experts, const ExpertBatch& batch, const Function& function) {
  for (int64_t e = batch.first; e < batch.last; ++e)
    if (experts.rows(e) > 0) function(e);
}

/// Zeroes the (E, size) gradient of experts without rows.
void clear_inactive(const Experts& experts, const WeightGradient& gradient, int64_t size) {
  if (!gradient.data) return;
  const int64_t bytes = bytes_of(gradient.format, size);
  for_each_item(experts.count, [&](int64_t e) {
    if (experts.rows(e) == 0)
      std::memset(static_cast<char*>(gradient.data) + e * bytes, 0, static_cast<size_t>(bytes));
  });
}

/// db[e] = the sum of the rows of e times their weights (null: 1), in their order.
template <class T>
void sum_rows(const RowKernels<T>& kernels, const Experts& experts, RowsOf<T> rows,
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

/// out[r] . dout[r] of all rows: h . (w_out' dy), which the products leave in `parts` numbers a
/// row, plus b_out . dout.
template <class T>
void sum_dots(const RowKernels<T>& kernels, const Experts& experts, const MlpWeights<T>& w,
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
void mlp_forward(const Kernels& kernels, const Experts& experts, const MlpWeights<T>& w,
                 RowsOf<T> x, const T* keep_RF, T* pre_RH, T* out_RO) {
  const int64_t F = w.F, H = w.H();
  const RowKernels<T>& rows = kernels.of<T>();
  const ExpertPipeline pipeline(experts);
  const Workspace memory(static_cast<size_t>(out_RO ? pipeline.rows() * F : 0) * sizeof(T));
  T* const hidden_RF = out_RO ? memory.as<T>() : nullptr;
  const bool stream_pre =
      store_mode(bytes_of(kFormatOf<T>, experts.begin(experts.count) * H)) == StoreMode::kStreaming;

  Products<T> products{kernels, experts};
  const auto first = [&](int64_t i, const ExpertBatch& batch, const Dependencies& dependencies) {
    for_each_active(experts, batch, [&](int64_t e) {
      const int64_t first = experts.begin(e);
      T* const hidden_MF = at(hidden_RF, pipeline.row(i, experts, e) * F);
      const T* const b_H = at(w.b_in, e * H);
      products.add({x.from(first).matrix(), true}, {w.w_in_E[e], true}, experts.rows(e), F, w.D,
                   dependencies);
      products.list.back().halves = w.gated ? 2 : 1;
      products.list.back().finish = [=, &rows](const Block& block, const Sums& sums) {
        for (int64_t i = 0; i < block.rows; ++i) {
          const int64_t m = block.row + i, r = first + m, c = block.column;
          const float* const gate = sums.sums + i * sums.stride;
          rows.forward(w.activation,
                       {block.columns, gate, w.gated ? gate + sums.half : nullptr, at(b_H, c),
                        w.gated ? at(b_H, F + c) : nullptr, at(keep_RF, r * F + c),
                        at(pre_RH, r * H + c), w.gated ? at(pre_RH, r * H + F + c) : nullptr,
                        at(hidden_MF, m * F + c), stream_pre});
        }
      };
    });
  };
  const auto second = [&](int64_t i, const ExpertBatch& batch, const Dependencies& dependencies) {
    if (!out_RO) return;
    for_each_active(experts, batch, [&](int64_t e) {
      products.add_product(e, {hidden_RF + pipeline.row(i, experts, e) * F, F}, w.w_out_E[e],
                           w.b_out, F, w.O, out_RO + experts.begin(e) * w.O, dependencies);
    });
  };
  pipeline.for_each_stage(first, second);
  products.run();
}

template <class T>
void mlp_backward(const Kernels& kernels, const Experts& experts, const MlpWeights<T>& w,
                  RowsOf<T> x, const T* keep_RF, T* pre_RH, const OutputGradients<T>& dout,
                  const MlpGradients<T>& out) {
  const int64_t D = w.D, F = w.F, H = w.H(), O = w.O;
  const RowKernels<T>& rows = kernels.of<T>();
  const ExpertPipeline pipeline(experts);
  const Workspace memory(static_cast<size_t>(pipeline.rows() * F) * sizeof(T));
  T *const hidden_RF = memory.as<T>(), *const dpre_RH = pre_RH;
  // A part for every tile, so that neither blocks nor threads change a sum.
  const int64_t parts = dout.dweight_R ? (F + rows.columns - 1) / rows.columns : 0;
  const Workspace parts_memory(static_cast<size_t>(experts.begin(experts.count) * parts) *
                               sizeof(float));
  float* const dots = parts > 0 ? parts_memory.as<float>() : nullptr;

  Products<T> products{kernels, experts};
  const auto first = [&](int64_t i, const ExpertBatch& batch, const Dependencies& dependencies) {
    for_each_active(experts, batch, [&](int64_t e) {
      const int64_t first = experts.begin(e);
      T* const hidden_MF = hidden_RF + pipeline.row(i, experts, e) * F;
      products.add({dout.rows.from(first).matrix(), true}, {w.w_out_E[e], false}, experts.rows(e),
                   F, O, dependencies);
      products.list.back().finish = [=, &rows](const Block& block, const Sums& sums) {
        for (int64_t i = 0; i < block.rows; ++i) {
          const int64_t m = block.row + i, r = first + m, c = block.column, gate = r * H + c;
          rows.backward(
              w.activation,
              {block.columns, sums.sums + i * sums.stride, pre_RH + gate,
               w.gated ? pre_RH + gate + F : nullptr, at(keep_RF, r * F + c), dpre_RH + gate,
               w.gated ? dpre_RH + gate + F : nullptr, hidden_MF + m * F + c,
               dout.weight_R ? dout.weight_R[r] : 1.0f, at(dots, r * parts + c / rows.columns)});
        }
      };
    });
  };
  const auto second = [&](int64_t i, const ExpertBatch& batch, const Dependencies& dependencies) {
    for_each_active(experts, batch, [&](int64_t e) {
      products.add_back(e, dpre_RH, w.w_in_E[e], D, H, out.drow_RD, dependencies);
      products.add_of_weights(e, dout.rows, {hidden_RF + pipeline.row(i, experts, e) * F, F}, F, O,
                              out.dw_out, dependencies);
      products.add_of_weights(e, {dpre_RH, H}, x.from(experts.begin(e)), D, H, out.dw_in,
                              dependencies);
    });
  };
  pipeline.for_each_stage(first, second);
  products.run();

  clear_inactive(experts, out.dw_in, H * D);
  clear_inactive(experts, out.dw_out, O * F);
  sum_rows<T>(rows, experts, {dpre_RH, H}, nullptr, H, out.db_in);
  sum_rows(rows, experts, dout.rows, dout.weight_R, O, out.db_out);
  sum_dots(rows, experts, w, dots, parts, dout);
}

template <class T>
void linear_forward(const Kernels& kernels, const Experts& experts, const LinearWeights<T>& w,
                    RowsOf<T> x, T* out_RO) {
  Products<T> products{kernels, experts};
  for_each_active(experts, {0, experts.count, 0, 0}, [&](int64_t e) {
    products.add_product(e, x.from(experts.begin(e)), w.w_E[e], w.b_EO, w.D, w.O,
                         out_RO + experts.begin(e) * w.O);
  });
  products.run();
}

template <class T>
void linear_backward(const Kernels& kernels, const Experts& experts, const LinearWeights<T>& w,
                     RowsOf<T> x, const T* dout_RO, const LinearGradients<T>& out) {
  const RowsOf<T> dout = {dout_RO, w.O};
  Products<T> products{kernels, experts};
  for_each_active(experts, {0, experts.count, 0, 0}, [&](int64_t e) {
    products.add_back(e, dout_RO, w.w_E[e], w.D, w.O, out.drow_RD);
    products.add_of_weights(e, dout, x.from(experts.begin(e)), w.D, w.O, out.dw_EOD);
  });
  products.run();
  clear_inactive(experts, out.dw_EOD, w.O * w.D);
  sum_rows(kernels.of<T>(), experts, dout, nullptr, w.O, out.db_EO);
}

#define MOE_INSTANTIATE(T)                                                                        \
  template void mlp_forward<T>(const Kernels&, const Experts&, const MlpWeights<T>&, RowsOf<T>,   \
                               const T*, T*, T*);                                                 \
  template void mlp_backward<T>(const Kernels&, const Experts&, const MlpWeights<T>&, RowsOf<T>,  \
                                const T*, T*, const OutputGradients<T>&, const MlpGradients<T>&); \
  template void linear_forward<T>(const Kernels&, const Experts&, const LinearWeights<T>&,        \
                                  RowsOf<T>, T*);                                                 \
  template void linear_backward<T>(const Kernels&, const Experts&, const LinearWeights<T>&,       \
                                   RowsOf<T>, const T*, const LinearGradients<T>&);
MOE_INSTANTIATE(float)
MOE_INSTANTIATE(BFloat16)
#undef MOE_INSTANTIATE

}  // namespace moe::ops::cpu
