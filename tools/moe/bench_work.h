#pragma once
// T tokens, D width, F hidden units, E experts, K choices, V vocabulary, B batch, S sequence.
// The pieces of work that `moe bench` times.

#include <functional>
#include <string>

#include <ATen/core/Tensor.h>

#include "tools/moe/bench_bound.h"

namespace moe::tools {

/// What every bench may be told.
struct BenchCommon {
  std::string mode = "forward";
  std::string dtype = "float32";
  std::string device = "cpu";
  int64_t threads = 0;
  int64_t seed = 1;
  int64_t repeat = 10;
  int64_t warmup = 2;
  bool json = false;
};

/// One layer, MoE or dense.
struct LayerBench : BenchCommon {
  int64_t tokens = 4096;
  int64_t d_model = 256;
  int64_t d_ff = 512;
  int64_t experts = 8;
  int64_t top_k = 2;
  std::string expert = "gated";
  std::string router = "topk";
  std::string routing = "learned";
  bool requests = false;
};

/// One training step of a language model.
struct ModelBench : BenchCommon {
  int64_t vocabulary = 256;
  int64_t d_model = 128;
  int64_t layers = 4;
  int64_t heads = 4;
  int64_t experts = 8;
  int64_t top_k = 2;
  int64_t d_ff = 256;
  int64_t sequence = 256;
  int64_t batch = 8;
  bool dense = false;
};

/// Something to time, ready to run.
struct Work {
  std::function<void()> once;
  at::Device device = at::kCPU;
  int64_t flops = 0;
  /// Of all it must touch: parameters, input and output, in training their gradients and, for a
  /// model, AdamW's moments.
  int64_t bytes = 0;
  int64_t parameters = 0;
  /// GFLOP/s that the processor can do at most with the kernels in use; 0 where that is not known.
  double peak_gflops = 0;
  /// The set of kernels that runs the products (on the CPU), by name.
  std::string kernels;
  /// The least time on this machine; for layers on the CPU.
  std::optional<Bound> bound;
  Json shapes;
};

/// A MoE layer on T tokens: forward, or forward and backward to parameters and input.
Work layer_work(const LayerBench& o);
/// The feed-forward block of K F hidden units on the same tokens.
Work dense_work(const LayerBench& o);
/// Bytes that a layer holds at most while it is made and timed.
int64_t layer_bytes(const LayerBench& o);
/// Forward, backward, clip and AdamW of a decoder, or of its dense twin. In bfloat16 the products
/// only; parameters and moments stay float32.
Work model_work(const ModelBench& o);

}  // namespace moe::tools
