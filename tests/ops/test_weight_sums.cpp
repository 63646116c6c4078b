// Gradients of weights as float32 sums that stay where they are, on every instruction set. R rows,
// E experts, D in, F hidden, H = F or 2F, O out.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <tests/reference/expert_mlp.h>
#include <tests/support/guarded.h>
#include <tests/support/instruction_sets.h>

#include <gtest/gtest.h>

#include <moe/ops/cpu/expert_mlp.h>

namespace moe::ops::cpu::weight_sums_test {

namespace {

using moe::test::Guarded;
using moe::test::WithInstructionSet;
using moe::test::reference::stored;
using moe::test::reference::to_double;

struct Shape {
  int64_t D, F, O;
  std::vector<int64_t> rows_E;
  bool gated;
};

size_t size(int64_t n) {
  return static_cast<size_t>(n);
}

/// A backward pass of experts of T, whose inputs depend on nothing but the shape.
template <class T>
struct Pass {
  explicit Pass(const Shape& s)
      : shape(s),
        E(static_cast<int64_t>(s.rows_E.size())),
        H(s.gated ? 2 * s.F : s.F),
        offsets_E{0} {
    for (const int64_t rows : s.rows_E) offsets_E.push_back(offsets_E.back() + rows);
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    const auto fill = [&](std::vector<T>& values, int64_t n, double scale) {
      values.resize(size(n));
      for (T& value : values) value = stored<T>(scale * normal(random));
    };
    const int64_t R = offsets_E.back();
    fill(x, R * s.D, 1);
    fill(w_in, E * H * s.D, 1 / std::sqrt(s.D));
    fill(w_out, E * s.O * s.F, 1 / std::sqrt(s.F));
    fill(pre, R * H, 1);
    fill(dout, R * s.O, 1);
  }

  int64_t in() const { return H * shape.D; }
  int64_t out() const { return shape.O * shape.F; }

  void run(T* dw_in, T* dw_out, const WeightSums& sums_in, const WeightSums& sums_out) const {
    std::vector<T> dpre = pre;
    mlp_backward<T>(kernels().of<T>(), {E, offsets_E.data()},
                    {w_in.data(), nullptr, w_out.data(), nullptr, shape.D, shape.F, shape.O,
                     shape.gated, Activation::kSilu},
                    {x.data(), shape.D}, nullptr, dpre.data(), {{dout.data(), shape.O}},
                    {nullptr, dw_in, nullptr, dw_out, nullptr, sums_in, sums_out});
  }

  Shape shape;
  int64_t E, H;
  std::vector<int64_t> offsets_E;
  std::vector<T> x, w_in, w_out, pre, dout;
};

/// The sums of one weight between forbidden pages, and their states.
struct Sums {
  Guarded<float> values;
  std::vector<SumState> state_E;
  int64_t each;

  Sums(int64_t E, int64_t each_has, SumState state)
      : values(size(E * each_has)), state_E(size(E), state), each(each_has) {
    std::fill(values.begin(), values.end(), std::numeric_limits<float>::quiet_NaN());
  }
  WeightSums of() { return {values.data(), state_E.data(), &kernels().of<float>()}; }
  float* expert(int64_t e) { return values.data() + e * each; }
};

bool all_nan(const float* values, int64_t n) {
  return std::all_of(values, values + n, [](float value) { return std::isnan(value); });
}

template <class T>
void expect_sums(const Shape& shape) {
  const Pass<T> pass(shape);
  const int64_t E = pass.E;
  Guarded<T> dw_in(size(E * pass.in())), dw_out(size(E * pass.out()));
  pass.run(dw_in.data(), dw_out.data(), {}, {});
  Sums in(E, pass.in(), SumState::kStale), out(E, pass.out(), SumState::kStale);
  pass.run(nullptr, nullptr, in.of(), out.of());
  // Written, or cleared: the gradient before it is rounded to T.
  for (auto& [sums, gradient] : {std::pair{&in, &dw_in}, std::pair{&out, &dw_out}}) {
    int64_t off = 0;
    for (size_t i = 0; i < sums->values.size(); ++i)
      off += to_double(stored<T>(sums->values[i])) != to_double((*gradient)[i]);
    EXPECT_EQ(off, 0);
    for (int64_t e = 0; e < E; ++e)
      EXPECT_EQ(sums->state_E[size(e)],
                shape.rows_E[size(e)] > 0 ? SumState::kLive : SumState::kZero);
  }
  // Added to what is live, written over known zeros, whatever stands there.
  Sums more(E, pass.in(), SumState::kZero);
  std::mt19937 random(9);
  std::vector<float> before(size(E * pass.in()));
  for (float& value : before) value = std::normal_distribution<float>()(random);
  for (int64_t e = 0; e < E; e += 2) {
    more.state_E[size(e)] = SumState::kLive;
    std::copy_n(before.data() + e * pass.in(), pass.in(), more.expert(e));
  }
  pass.run(nullptr, nullptr, more.of(), out.of());
  for (int64_t e = 0; e < E; ++e) {
    const bool busy = shape.rows_E[size(e)] > 0, live = e % 2 == 0;
    std::vector<float> expected(in.expert(e), in.expert(e) + pass.in());
    for (size_t i = 0; live && i < expected.size(); ++i)
      expected[i] += before[size(e * pass.in()) + i];
    if (!busy && !live)
      EXPECT_TRUE(all_nan(more.expert(e), pass.in())) << "known zeros were written, expert " << e;
    else
      EXPECT_EQ(std::memcmp(more.expert(e), expected.data(), expected.size() * sizeof(float)), 0)
          << "expert " << e;
    EXPECT_EQ(more.state_E[size(e)], busy || live ? SumState::kLive : SumState::kZero);
  }
}

TEST(WeightSums, AreTheGradientsBeforeRoundingOnEveryInstructionSet) {
  const std::vector<Shape> shapes = {{37, 21, 29, {0, 3, 40, 0, 17}, true},
                                     {16, 48, 8, {5, 0, 0, 130, 1}, false},
                                     {1, 1, 1, {2, 0, 1}, true},
                                     {24, 8, 300, {0, 0}, false},
                                     {9, 5, 7, {60}, true},
                                     // Large enough to be written past the caches.
                                     {700, 900, 700, {2, 0, 0, 0, 1, 3, 0, 20}, false}};
  for (const auto set : available_instruction_sets()) {
    if (set == InstructionSet::kLibtorch) continue;
    const WithInstructionSet these(set);
    SCOPED_TRACE(name_of(set));
    for (const Shape& shape : shapes) {
      expect_sums<float>(shape);
      expect_sums<BFloat16>(shape);
    }
  }
}

}  // namespace

}  // namespace moe::ops::cpu::weight_sums_test
