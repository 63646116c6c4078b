#pragma once
// No libtorch here: the CPU kernels include it.

namespace moe::ops {

enum class Activation { kRelu, kReluSquared, kGelu, kGeluTanh, kSilu };

}  // namespace moe::ops
