// R rows, T tokens, N pairs, D width.
#include <algorithm>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/kernels.h>
#include <moe/ops/cpu/rows.h>

namespace moe::ops::cpu {

namespace {

/// Tokens a thread takes at least, so that small inputs stay on one thread.
int64_t grain(int64_t width) {
  return std::max<int64_t>(1, 32768 / (width + 1));
}

/// What is done with one row, in plain loops.
template <class Row, class Sum>
struct PlainLoops {
  void add(int64_t D, Sum weight, const Row* row, Sum* out, bool first) const {
    if (first) std::fill(out, out + D, Sum(0));
    for (int64_t d = 0; d < D; ++d) out[d] += weight * static_cast<Sum>(row[d]);
  }
  Sum scale_and_dot(int64_t D, Sum weight, const Sum* dy, const Row* row, Row* drow) const {
    Sum dot = 0;
    for (int64_t d = 0; d < D; ++d) {
      drow[d] = static_cast<Row>(weight * dy[d]);
      dot += dy[d] * static_cast<Sum>(row[d]);
    }
    return dot;
  }
};

/// The same on the kernels, whose type for Row is T.
template <class Row, class T>
struct KernelLoops {
  const RowKernels<T>& kernels;

  void add(int64_t D, float weight, const Row* row, float* out, bool first) const {
    kernels.add_scaled(D, weight, reinterpret_cast<const T*>(row), out, first);
  }
  float scale_and_dot(int64_t D, float weight, const float* dy, const Row* row, Row* drow) const {
    return kernels.scale_and_dot(D, weight, dy, reinterpret_cast<const T*>(row),
                                 reinterpret_cast<T*>(drow));
  }
};

template <class Row, class Sum, class Loops>
void combine(const Tensor& rows_RD, const Tensor& position_N, const Tensor& weights_N,
             const Tensor& offsets_T1, Tensor& y_TD, const Loops& loops) {
  const int64_t D = rows_RD.size(1);
  const Row* rows = rows_RD.const_data_ptr<Row>();
  const int64_t* position = position_N.const_data_ptr<int64_t>();
  const Sum* weights = weights_N.defined() ? weights_N.const_data_ptr<Sum>() : nullptr;
  const int64_t* offsets = offsets_T1.const_data_ptr<int64_t>();
  Sum* y = y_TD.mutable_data_ptr<Sum>();
  at::parallel_for(0, y_TD.size(0), grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      Sum* out = y + t * D;
      bool first = true;
      for (int64_t n = offsets[t]; n < offsets[t + 1]; ++n) {
        if (position[n] < 0) continue;
        loops.add(D, weights ? weights[n] : Sum(1), rows + position[n] * D, out, first);
        first = false;
      }
      if (first) std::fill(out, out + D, Sum(0));
    }
  });
}

template <class Row, class Sum, class Loops>
void combine_backward(const Tensor& dy_TD, const Tensor& rows_RD, const Tensor& position_N,
                      const Tensor& weights_N, const Tensor& offsets_T1, Tensor& drows_RD,
                      Tensor& dweights_N, const Loops& loops) {
  const int64_t D = rows_RD.size(1);
  const Sum* dy = dy_TD.const_data_ptr<Sum>();
  const Row* rows = rows_RD.const_data_ptr<Row>();
  const int64_t* position = position_N.const_data_ptr<int64_t>();
  const Sum* weights = weights_N.defined() ? weights_N.const_data_ptr<Sum>() : nullptr;
  const int64_t* offsets = offsets_T1.const_data_ptr<int64_t>();
  Row* drows = drows_RD.mutable_data_ptr<Row>();
  Sum* dweights = weights ? dweights_N.mutable_data_ptr<Sum>() : nullptr;
  at::parallel_for(0, dy_TD.size(0), grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t n = offsets[t]; n < offsets[t + 1]; ++n) {
        const Sum dot = position[n] < 0
                            ? Sum(0)
                            : loops.scale_and_dot(D, weights ? weights[n] : Sum(1), dy + t * D,
                                                  rows + position[n] * D, drows + position[n] * D);
        if (dweights) dweights[n] = dot;
      }
  });
}

/// Calls function.operator()<Row, Sum>(loops) with the fastest loops for such rows.
template <class Function>
void with_loops(const Tensor& rows_RD, const Function& function) {
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, rows_RD.scalar_type(), "rows", [&] {
    using Sum = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
    const auto with_kernels = [&]<class T>(T) {
      return function.template operator()<scalar_t, Sum>(
          KernelLoops<scalar_t, T>{kernels(kProductOf<T>).template of<T>()});
    };
    // Of the set that few rows have: these loops do the same whatever runs the products.
    const auto own = [](ProductType type) {
      return instruction_set(type, /*rows=*/1) != InstructionSet::kLibtorch;
    };
    if constexpr (std::is_same_v<scalar_t, float>) {
      if (own(ProductType::kFloat32)) return with_kernels(float());
    } else if constexpr (std::is_same_v<scalar_t, at::BFloat16>) {
      if (own(ProductType::kBFloat16)) return with_kernels(BFloat16());
    }
    function.template operator()<scalar_t, Sum>(PlainLoops<scalar_t, Sum>());
  });
}

}  // namespace

void combine_rows(const Tensor& rows_RD, const Tensor& position_N, const Tensor& weights_N,
                  const Tensor& offsets_T1, Tensor& y_TD) {
  with_loops(rows_RD, [&]<class Row, class Sum>(const auto& loops) {
    combine<Row, Sum>(rows_RD, position_N, weights_N, offsets_T1, y_TD, loops);
  });
}

void combine_rows_backward(const Tensor& dy_TD, const Tensor& rows_RD, const Tensor& position_N,
                           const Tensor& weights_N, const Tensor& offsets_T1, Tensor& drows_RD,
                           Tensor& dweights_N) {
  with_loops(rows_RD, [&]<class Row, class Sum>(const auto& loops) {
    combine_backward<Row, Sum>(dy_TD, rows_RD, position_N, weights_N, offsets_T1, drows_RD,
                               dweights_N, loops);
  });
}

}  // namespace moe::ops::cpu
