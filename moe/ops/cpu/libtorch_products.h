#pragma once

#include <c10/core/ScalarType.h>

#include <moe/ops/cpu/instruction_set.h>

namespace moe::ops::cpu {

/// Whether libtorch makes products in 16 bits on such a processor with oneDNN, as it does on x86
/// with AVX-512. On x86 without it, it adds number by number: attention over 128 positions in
/// bfloat16 takes ten times as long as in float32 on Zen 3.
inline bool libtorch_multiplies_16_bits(const Processor& processor) {
  return !processor.x86 || processor.avx512;
}

/// The type that libtorch's products of `type` are best made in on this processor: float32 in the
/// place of 16 bits where libtorch has none worth the name.
inline at::ScalarType type_of_libtorch_products(at::ScalarType type) {
  return c10::isReducedFloatingType(type) && !libtorch_multiplies_16_bits(this_processor())
             ? at::ScalarType::Float
             : type;
}

}  // namespace moe::ops::cpu
