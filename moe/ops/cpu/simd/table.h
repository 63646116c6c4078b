#pragma once
// Tables of kernels from their parts. In an unnamed namespace: see avx512.h.

#include <moe/ops/cpu/formats/all.h>
#include <moe/ops/cpu/simd/hidden.h>
#include <moe/ops/cpu/simd/panels.h>
#include <moe/ops/cpu/simd/rows.h>
#include <moe/ops/cpu/simd/tiles.h>

namespace moe::ops::cpu {

namespace {

template <class Simd, class T>
RowKernels<T> row_kernels() {
  return {Simd::kColumnVectors * Simd::kWidth,
          store<Simd, T, StoreMode::kCached>,
          store<Simd, T, StoreMode::kStreaming>,
          add_scaled<Simd, T>,
          dot<Simd, T>,
          scale_and_dot<Simd, T>,
          forward<Simd, T>,
          backward<Simd, T>};
}

template <class Simd, class Unit, class Format>
FormatKernels format_kernels() {
  FormatKernels out;
  out.pack_transposed = pack_transposed<Simd, Unit, Format>;
  out.pack_copied = pack_copied<Simd, Unit, Format>;
  fill_in_place<Simd, Unit, Format, Simd::kRows>(out);
  fill_transposing<Simd, Unit, Format, Simd::kTransposingRows>(out);
  return out;
}

/// Without formats.
template <class Simd, class Unit>
ProductKernels product_kernels() {
  ProductKernels out{Simd::kRows,
                     Simd::kColumnVectors * Simd::kWidth,
                     Simd::kWidth,
                     Unit::kStep,
                     Simd::kTransposingRows,
                     {},
                     {},
                     {},
                     {},
                     Simd::fence,
                     multiply_adds<Simd, Unit>};
  out.slack = Simd::kWidth;  // packing writes whole registers
  fill_tiles<Simd, Unit, Simd::kRows>(out);
  return out;
}

/// With every format widened to float32.
template <class Simd, class... Formats>
ProductKernels float_kernels(FormatList<Formats...>) {
  auto out = product_kernels<Simd, FloatUnit<Simd>>();
  static_assert(sizeof...(Formats) == kFormats);
  int next = 0;
  ((out.formats[next++] = format_kernels<Simd, FloatUnit<Simd>, Formats>()), ...);
  return out;
}

/// All kernels of a set without an instruction for pairs.
template <class Simd, class Lanes>
Kernels kernels_of() {
  return {row_kernels<Simd, float>(),
          row_kernels<Simd, BFloat16>(),
          choice_kernels<Lanes>(),
          float_kernels<Simd>(WidenedFormats()),
          {}};
}

}  // namespace

}  // namespace moe::ops::cpu
