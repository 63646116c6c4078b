// R rows, F width.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/ops/random_fill.h>

namespace moe::ops {

namespace {

/// values[i] = draw(first + i); on the CPU and then moved, so that every device gets the same
/// numbers.
template <class Draw>
void fill(Tensor values, uint64_t first, const Draw& draw) {
  const at::NoGradGuard no_grad;
  if (values.numel() == 0) return;
  Tensor target = values.is_cpu() && values.is_contiguous()
                      ? values
                      : at::empty(values.sizes(), values.options().device(at::kCPU));
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, values.scalar_type(), "random_fill", [&] {
        scalar_t* data = target.mutable_data_ptr<scalar_t>();
        at::parallel_for(0, values.numel(), 4096, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i)
            data[i] = static_cast<scalar_t>(draw(first + static_cast<uint64_t>(i)));
        });
      });
  if (!target.is_same(values)) values.copy_(target);
}

}  // namespace

void fill_normal_(Tensor values, const RandomStream& stream, double std, uint64_t first) {
  fill(values, first, [&](uint64_t i) { return std * stream.normal(i); });
}

void fill_truncated_normal_(Tensor values, const RandomStream& stream, double std, uint64_t first) {
  fill(values, first, [&](uint64_t i) {
    // Redraws come from the far end of the same stream: one in 22 draws needs one.
    float draw = stream.normal(i);
    for (uint64_t again = 1; std::abs(draw) > 2; ++again) draw = stream.normal(i + (again << 48));
    return std * draw;
  });
}

void fill_uniform_(Tensor values, const RandomStream& stream, double low, double high,
                   uint64_t first) {
  fill(values, first, [&](uint64_t i) { return low + (high - low) * stream.uniform(i); });
}

Tensor dropout_mask(const Tensor& row_R, int64_t width, double p, const RandomStream& stream,
                    at::ScalarType dtype) {
  check(p >= 0 && p < 1, "ops/dropout", "expected a probability in [0, 1), got ", p,
        ". Correct it.");
  const Tensor ids_R = row_R.to(at::kCPU).contiguous();
  const int64_t R = ids_R.size(0);
  Tensor mask_RF = at::empty({R, width}, at::TensorOptions(dtype));
  const int64_t* ids = ids_R.const_data_ptr<int64_t>();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, dtype, "dropout_mask", [&] {
    scalar_t* mask = mask_RF.mutable_data_ptr<scalar_t>();
    const auto kept = static_cast<scalar_t>(1 / (1 - p));
    at::parallel_for(
        0, R, std::max<int64_t>(1, 4096 / (width + 1)), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            const uint64_t base =
                static_cast<uint64_t>(ids[r]) * static_cast<uint64_t>((width + 3) / 4);
            for (int64_t f = 0; f < width; f += 4) {
              const auto words = stream.block(base + static_cast<uint64_t>(f / 4));
              for (int64_t i = 0; i < std::min<int64_t>(4, width - f); ++i)
                mask[r * width + f + i] =
                    static_cast<float>(words[static_cast<size_t>(i)] >> 8) * 0x1p-24f < p
                        ? scalar_t(0)
                        : kept;
            }
          }
        });
  });
  return mask_RF.to(row_R.device());
}

}  // namespace moe::ops
