// The loops over one row on every instruction set of this processor, between forbidden pages,
// against plain loops in float64.
#include <algorithm>
#include <cmath>
#include <random>
#include <tests/support/compare.h>
#include <tests/support/guarded.h>
#include <tests/support/instruction_sets.h>
#include <vector>

namespace moe::ops::cpu::choice_kernels_test {

namespace {

using moe::test::Guarded;
using moe::test::WithInstructionSet;

size_t size(int64_t n) {
  return static_cast<size_t>(n);
}

template <class Function>
void on_every_set(const Function& function) {
  for (const auto set : available_instruction_sets()) {
    if (set == InstructionSet::kLibtorch) continue;
    SCOPED_TRACE(name_of(set));
    const WithInstructionSet with(set);
    function(kernels().choice);
  }
}

/// Rows of random numbers of every length up to 70 and some longer, at either edge of their pages.
template <class Function>
void on_rows(const Function& function) {
  for (int64_t n = 1; n <= 200; n += n < 70 ? 1 : 43)
    for (const bool at_start : {true, false}) {
      SCOPED_TRACE(n);
      std::mt19937 random(static_cast<uint32_t>(n));
      std::normal_distribution<float> normal(0, 3);
      Guarded<float> a(size(n), at_start), b(size(n), at_start);
      for (float& x : a) x = normal(random);
      for (float& x : b) x = normal(random);
      on_every_set([&](const ChoiceKernels& kernels) { function(kernels, a, b, at_start); });
    }
}

TEST(ChoiceKernels, SoftmaxSigmoidAndLogSumExp) {
  on_rows([](const auto& kernels, auto& l, auto&, bool at_start) {
    const auto n = static_cast<int64_t>(l.size());
    Guarded<float> out(l.size(), at_start);
    double total = 0;
    for (const float x : l) total += std::exp(double(x));
    kernels.softmax(n, l.data(), out.data());
    for (size_t i = 0; i < l.size(); ++i)
      EXPECT_NEAR(out[i], std::exp(double(l[i])) / total, 2e-6 * (std::exp(double(l[i])) / total));
    kernels.sigmoid(n, l.data(), out.data());
    for (size_t i = 0; i < l.size(); ++i)
      EXPECT_NEAR(out[i], 1 / (1 + std::exp(-double(l[i]))), 2e-7);
    EXPECT_NEAR(kernels.log_sum_exp(n, l.data()), std::log(total), 2e-6);
    std::copy(l.begin(), l.end(), out.begin());
    kernels.softmax(n, out.data(), out.data());
    EXPECT_NEAR(kernels.sum(n, out.data()), 1, 1e-5);
  });
}

TEST(ChoiceKernels, LargestIsTheHeadOfAStableSort) {
  on_rows([](const auto& kernels, auto& l, auto&, bool at_start) {
    const auto n = static_cast<int64_t>(l.size());
    std::vector<int64_t> sorted(l.size());
    for (size_t i = 0; i < sorted.size(); ++i) sorted[i] = static_cast<int64_t>(i);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [&](int64_t i, int64_t j) { return l[size(i)] > l[size(j)]; });
    for (const int64_t k : {int64_t{1}, int64_t{2}, int64_t{5}, int64_t{17}, n}) {
      if (k > n) continue;
      Guarded<int64_t> ids(size(k), at_start);
      kernels.largest(n, l.data(), k, ids.data());
      EXPECT_TRUE(std::equal(ids.begin(), ids.end(), sorted.begin())) << "k=" << k;
    }
  });
}

TEST(ChoiceKernels, Gradients) {
  on_rows([](const auto& kernels, auto& a, auto& b, bool at_start) {
    const auto n = static_cast<int64_t>(a.size());
    Guarded<float> out(a.size(), at_start), more(a.size(), at_start);
    std::fill(more.begin(), more.end(), 0.25f);
    double dot = 0, magnitude = 1;
    for (size_t i = 0; i < a.size(); ++i) {
      dot += double(a[i]) * double(b[i]);
      magnitude += std::fabs(double(a[i]) * double(b[i]));
    }
    EXPECT_NEAR(kernels.dot(n, a.data(), b.data()), dot, 1e-6 * magnitude);
    const auto expect = [&](const auto& formula) {
      for (size_t i = 0; i < a.size(); ++i) {
        const double expected = formula(double(a[i]), double(b[i]));
        EXPECT_NEAR(out[i], expected, 2e-6 * (1 + std::fabs(expected)));
      }
    };
    kernels.softmax_backward(n, a.data(), b.data(), 0.5f, 2, more.data(), out.data());
    expect([](double p, double dp) { return 2 * p * (dp - 0.5) + 0.25; });
    kernels.softmax_backward(n, a.data(), nullptr, 0.5f, 2, nullptr, out.data());
    expect([](double p, double) { return -p; });
    kernels.sigmoid_backward(n, a.data(), b.data(), more.data(), out.data());
    expect([](double s, double ds) { return ds * s * (1 - s) + 0.25; });
    kernels.sigmoid_backward(n, a.data(), nullptr, nullptr, out.data());
    expect([](double, double) { return 0.0; });
    for (float& x : a) x = -std::fabs(x);
    kernels.exponential(n, a.data(), 1, 3, out.data());
    expect([](double l, double) { return 3 * std::exp(l - 1); });
    Guarded<double> sums(a.size(), at_start);
    std::fill(sums.begin(), sums.end(), 2.0);
    kernels.add_to(n, a.data(), 0.5, sums.data());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_DOUBLE_EQ(sums[i], 2 + 0.5 * double(a[i]));
  });
}

TEST(ChoiceKernels, WeightedSumOfRows) {
  for (const int64_t n : {1, 3, 16, 17, 33})
    for (const int64_t count : {0, 1, 2, 3, 4, 5, 8, 11}) {
      Guarded<float> rows(size(6 * n)), weights(size(count)), out(size(n));
      Guarded<int64_t> index(size(count));
      std::mt19937 random(static_cast<uint32_t>(n + count));
      std::normal_distribution<float> normal;
      for (float& x : rows) x = normal(random);
      for (float& x : weights) x = normal(random);
      for (int64_t& i : index) i = static_cast<int64_t>(random() % 6);
      on_every_set([&](const ChoiceKernels& kernels) {
        kernels.weighted_sum(n, count, rows.data(), index.data(), weights.data(), out.data());
        for (int64_t i = 0; i < n; ++i) {
          double expected = 0, magnitude = 0;
          for (int64_t j = 0; j < count; ++j) {
            const double term =
                double(weights[size(j)]) * double(rows[size(index[size(j)] * n + i)]);
            expected += term;
            magnitude += std::fabs(term);
          }
          EXPECT_NEAR(out[size(i)], expected, 1e-6 * magnitude);
        }
      });
    }
}

}  // namespace

}  // namespace moe::ops::cpu::choice_kernels_test
