// R rows, T tokens, N pairs, D width.
#include <algorithm>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <moe/ops/cpu/rows.h>

namespace moe::ops::cpu {

namespace {

/// Tokens a thread takes at least, so that small inputs stay on one thread.
int64_t grain(int64_t width) {
  return std::max<int64_t>(1, 32768 / (width + 1));
}

template <class Row, class Sum>
void combine(const Tensor& rows_RD, const Tensor& position_N, const Tensor& weights_N,
             const Tensor& offsets_T1, Tensor& y_TD) {
  const int64_t D = rows_RD.size(1);
  const Row* rows = rows_RD.const_data_ptr<Row>();
  const int64_t* position = position_N.const_data_ptr<int64_t>();
  const Sum* weights = weights_N.defined() ? weights_N.const_data_ptr<Sum>() : nullptr;
  const int64_t* offsets = offsets_T1.const_data_ptr<int64_t>();
  Sum* y = y_TD.mutable_data_ptr<Sum>();
  at::parallel_for(0, y_TD.size(0), grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      Sum* out = y + t * D;
      for (int64_t n = offsets[t]; n < offsets[t + 1]; ++n) {
        if (position[n] < 0) continue;
        const Row* row = rows + position[n] * D;
        const Sum weight = weights ? weights[n] : Sum(1);
        for (int64_t d = 0; d < D; ++d) out[d] += weight * static_cast<Sum>(row[d]);
      }
    }
  });
}

template <class Row, class Sum>
void combine_backward(const Tensor& dy_TD, const Tensor& rows_RD, const Tensor& position_N,
                      const Tensor& weights_N, const Tensor& offsets_T1, Tensor& drows_RD,
                      Tensor& dweights_N) {
  const int64_t D = rows_RD.size(1);
  const Sum* dy = dy_TD.const_data_ptr<Sum>();
  const Row* rows = rows_RD.const_data_ptr<Row>();
  const int64_t* position = position_N.const_data_ptr<int64_t>();
  const Sum* weights = weights_N.defined() ? weights_N.const_data_ptr<Sum>() : nullptr;
  const int64_t* offsets = offsets_T1.const_data_ptr<int64_t>();
  Row* drows = drows_RD.mutable_data_ptr<Row>();
  Sum* dweights = weights ? dweights_N.mutable_data_ptr<Sum>() : nullptr;
  at::parallel_for(0, dy_TD.size(0), grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const Sum* gradient = dy + t * D;
      for (int64_t n = offsets[t]; n < offsets[t + 1]; ++n) {
        if (position[n] < 0) continue;
        const Row* row = rows + position[n] * D;
        Row* drow = drows + position[n] * D;
        const Sum weight = weights ? weights[n] : Sum(1);
        Sum dot = 0;
        for (int64_t d = 0; d < D; ++d) {
          drow[d] = static_cast<Row>(weight * gradient[d]);
          dot += gradient[d] * static_cast<Sum>(row[d]);
        }
        if (dweights) dweights[n] = dot;
      }
    }
  });
}

}  // namespace

void combine_rows(const Tensor& rows_RD, const Tensor& position_N, const Tensor& weights_N,
                  const Tensor& offsets_T1, Tensor& y_TD) {
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, rows_RD.scalar_type(), "combine_rows", [&] {
        using Sum = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
        combine<scalar_t, Sum>(rows_RD, position_N, weights_N, offsets_T1, y_TD);
      });
}

void combine_rows_backward(const Tensor& dy_TD, const Tensor& rows_RD, const Tensor& position_N,
                           const Tensor& weights_N, const Tensor& offsets_T1, Tensor& drows_RD,
                           Tensor& dweights_N) {
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, rows_RD.scalar_type(), "combine_rows_backward", [&] {
        using Sum = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
        combine_backward<scalar_t, Sum>(dy_TD, rows_RD, position_N, weights_N, offsets_T1, drows_RD,
                                        dweights_N);
      });
}

}  // namespace moe::ops::cpu
