#pragma once
// Comparisons of tensors that say where they fail.

#include <string>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

namespace moe::test {

using at::Tensor;

/// Shapes equal, and |got - expected| <= tolerance (1 + |expected|) everywhere; NaN fails.
inline void expect_close(const Tensor& got, const Tensor& expected, double tolerance,
                         const std::string& what = "") {
  ASSERT_TRUE(got.defined() && expected.defined()) << what;
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  if (got.numel() == 0) return;
  const Tensor wide = expected.detach().to(at::kDouble);
  const Tensor off = (got.detach().to(at::kDouble) - wide).abs() / (1 + wide.abs());
  EXPECT_LE(off.max().item<double>(), tolerance) << what;
}

/// The same bits, dtype and shape.
inline void expect_identical(const Tensor& got, const Tensor& expected,
                             const std::string& what = "") {
  ASSERT_TRUE(got.defined() && expected.defined()) << what;
  ASSERT_EQ(got.scalar_type(), expected.scalar_type()) << what;
  ASSERT_EQ(got.sizes(), expected.sizes()) << what;
  EXPECT_TRUE(got.equal(expected)) << what;
}

/// Operators run on `threads` threads for as long as this lives.
class WithThreads {
 public:
  explicit WithThreads(int threads) : before_(at::get_num_threads()) {
    at::set_num_threads(threads);
  }
  ~WithThreads() { at::set_num_threads(before_); }
  WithThreads(const WithThreads&) = delete;
  WithThreads& operator=(const WithThreads&) = delete;

 private:
  int before_;
};

}  // namespace moe::test
