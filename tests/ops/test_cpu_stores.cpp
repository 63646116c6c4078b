// Where sums go: through the caches or past them, from rows and from tiles, for every instruction
// set of this processor.
#include <cmath>
#include <cstring>
#include <tests/reference/expert_mlp.h>
#include <tests/support/guarded.h>
#include <tests/support/kernel_tables.h>

#include <gtest/gtest.h>

namespace moe::ops::cpu::stores_test {

namespace {

using moe::test::Guarded;
using moe::test::kernel_tables;
using moe::test::reference::stored;

/// Stores past the caches, from any column on, of any length.
template <class T>
void expect_streaming_stores_are_stores() {
  constexpr int64_t kLength = 70;
  alignas(64) float sums[kLength];
  for (int64_t i = 0; i < kLength; ++i) sums[i] = std::sin(static_cast<float>(i));
  for (const auto& [name, table] : kernel_tables()) {
    const auto& kernels = table->template of<T>();
    for (const int64_t from : {0, 1, 16, 33})
      for (int64_t n = 0; n <= kLength - from; ++n) {
        alignas(64) T cached[kLength] = {}, streamed[kLength] = {}, hidden[2][kLength] = {},
                      pre[2][kLength] = {};
        kernels.store(n, sums + from, nullptr, cached + from);
        kernels.store_streaming(n, sums + from, nullptr, streamed + from);
        for (const bool pass : {false, true})
          kernels.forward(Activation::kSilu,
                          {n, sums + from, nullptr, nullptr, nullptr, nullptr, pre[pass] + from,
                           nullptr, hidden[pass] + from, pass});
        table->floats.fence();
        EXPECT_EQ(std::memcmp(cached, streamed, sizeof cached), 0)
            << name << ' ' << from << ' ' << n;
        EXPECT_EQ(std::memcmp(pre[0], pre[1], sizeof pre[0]), 0) << name << ' ' << from << ' ' << n;
      }
  }
}

TEST(CpuStores, StreamingStoresAreStores) {
  expect_streaming_stores_are_stores<float>();
  expect_streaming_stores_are_stores<BFloat16>();
}

/// Tiles that write elsewhere against tiles that write C and rows that are stored.
template <class Out>
void expect_tiles_store_what_rows_do(ProductKernels Kernels::*part) {
  for (const auto& [name, table] : kernel_tables()) {
    const ProductKernels& kernels = table->*part;
    if (kernels.rows == 0) continue;  // the set has none of this kind
    const int64_t kUnits = kernels.units(5 * kernels.step);
    if (kernels.begin) kernels.begin();
    const auto& row_kernels = table->template of<Out>();
    const auto size = [](int64_t n) { return static_cast<size_t>(n); };
    Guarded<float> b(size(kUnits * kernels.columns));
    for (size_t i = 0; i < b.size(); ++i) b[i] = std::cos(static_cast<float>(i));
    for (int64_t m = 1; m <= kernels.rows; ++m) {
      Guarded<float> a(size(kUnits * m + (kernels.begin ? kernels.slack : 0))),
          c(size(m * kernels.columns));
      for (size_t i = 0; i < a.size(); ++i) a[i] = std::sin(static_cast<float>(i));
      for (const StoreMode mode : {StoreMode::kCached, StoreMode::kStreaming})
        for (const bool add : {false, true})
          for (const int64_t gap : {0, 1}) {
            SCOPED_TRACE(
                concat(name, ", rows ", m, ", mode ", static_cast<int>(mode), ", gap ", gap));
            const int64_t stride = kernels.columns + gap;
            Guarded<Out> got(size(m * stride - gap)), expected(got.size());
            for (size_t i = 0; i < got.size(); ++i)
              got[i] = expected[i] = stored<Out>(static_cast<double>(i % 7));
            for (size_t i = 0; i < c.size(); ++i) c[i] = static_cast<float>(i % 5);
            const Destination to{got.data(), stride, kFormatOf<Out>, mode};
            kernels.tile_store(to.format, m)(kUnits, a.data(), b.data(), c.data(), kernels.columns,
                                             add, to);
            kernels.fence();
            kernels.tile[m](kUnits, a.data(), b.data(), c.data(), kernels.columns, add);
            for (int64_t r = 0; r < m; ++r) {
              float* const sums = c.data() + r * kernels.columns;
              Out* const row = expected.data() + r * stride;
              row_kernels.store(kernels.columns, sums, nullptr, row);
            }
            EXPECT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(Out)), 0);
          }
    }
    if (kernels.end) kernels.end();
  }
}

TEST(CpuStores, TilesStoreWhatRowsDo) {
  for (const auto part : {&Kernels::floats, &Kernels::pairs, &Kernels::tiles}) {
    expect_tiles_store_what_rows_do<float>(part);
    expect_tiles_store_what_rows_do<BFloat16>(part);
  }
}

}  // namespace

}  // namespace moe::ops::cpu::stores_test
