// M tokens, H heads, R rows of a head's matrix, I inputs, O outputs.
#include <numeric>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/loops.h>
#include <moe/ops/head_products.h>

namespace moe::ops {

namespace {

void check_heads(const Tensor& x_MHI, const Tensor& w_HRX, int64_t first, int64_t count) {
  check(x_MHI.dim() == 3 && w_HRX.dim() == 3 && x_MHI.size(1) == w_HRX.size(0) && first >= 0 &&
            first + count <= w_HRX.size(1) && x_MHI.scalar_type() == w_HRX.scalar_type(),
        "ops/head_products", "expected x (M, H, I) and w (H, R, ...) of one type with the rows ",
        first, " to ", first + count, ", got ", x_MHI.sizes(), " and ", w_HRX.sizes(),
        ". Check the head widths.");
}

/// Calls each(x, y, w) for every token and head; a head's matrix is read for all its tokens.
template <class Each>
Tensor for_heads(const Tensor& x_MHI, const Tensor& w_HRX, int64_t outputs, const Each& each) {
  const Tensor x = x_MHI.contiguous(), w = w_HRX.contiguous();
  const int64_t M = x.size(0), H = x.size(1), I = x.size(2), head = w.size(1) * w.size(2);
  Tensor y = at::empty({M, H, outputs}, x.options());
  const float *xs = x.const_data_ptr<float>(), *ws = w.const_data_ptr<float>();
  float* ys = y.mutable_data_ptr<float>();
  at::parallel_for(0, H, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h)
      for (int64_t m = 0; m < M; ++m)
        each(xs + (m * H + h) * I, ys + (m * H + h) * outputs, ws + h * head);
  });
  return y;
}

}  // namespace

Tensor combine_head_rows(const Tensor& x_MHI, const Tensor& w_HRO, int64_t first) {
  const int64_t I = x_MHI.size(2), O = w_HRO.size(2);
  check_heads(x_MHI, w_HRO, first, I);
  if (!cpu::loops_take(x_MHI))
    return at::bmm(x_MHI.transpose(0, 1), w_HRO.narrow(1, first, I)).transpose(0, 1);
  const auto& loops = cpu::kernels().choice;
  std::vector<int64_t> rows(static_cast<size_t>(I));
  std::iota(rows.begin(), rows.end(), first);
  return for_heads(x_MHI, w_HRO, O, [&](const float* x, float* y, const float* w) {
    loops.weighted_sum(O, I, w, rows.data(), x, y);
  });
}

Tensor multiply_head_rows(const Tensor& x_MHI, const Tensor& w_HRI, int64_t first, int64_t count) {
  const int64_t I = x_MHI.size(2);
  check_heads(x_MHI, w_HRI, first, count);
  check(w_HRI.size(2) == I, "ops/head_products", "expected rows of ", I, " numbers, got ",
        w_HRI.size(2), ". Check the head widths.");
  if (!cpu::loops_take(x_MHI))
    return at::bmm(x_MHI.transpose(0, 1), w_HRI.narrow(1, first, count).transpose(1, 2))
        .transpose(0, 1);
  const auto& loops = cpu::kernels().choice;
  return for_heads(x_MHI, w_HRI, count, [&](const float* x, float* y, const float* w) {
    for (int64_t o = 0; o < count; ++o) y[o] = loops.dot(I, w + (first + o) * I, x);
  });
}

}  // namespace moe::ops
