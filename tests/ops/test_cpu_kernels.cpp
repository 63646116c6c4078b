// The kernels of every instruction set of this processor against plain loops in float64, every
// buffer between forbidden pages. R rows, E experts, D in, F hidden, H = F or 2F, O out, S source
// rows.
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <tests/reference/expert_mlp.h>
#include <tests/support/compare.h>
#include <tests/support/expert_matrices.h>
#include <tests/support/guarded.h>
#include <tests/support/kernel_tables.h>
#include <tests/support/message_of.h>

#include <moe/ops/cpu/expert_mlp.h>
#include <moe/ops/cpu/instruction_set.h>

namespace moe::ops::cpu::kernels_test {

namespace {

using moe::test::Guarded;
using moe::test::kernel_tables;
using moe::test::WithThreads;
using moe::test::reference::MlpResult;
using moe::test::reference::stored;
using moe::test::reference::to_double;

/// Where the weights stand: in one stack; or each expert's for itself, those without rows missing,
/// in the stack's format or now in this format, now in that.
enum class Weights { kStack, kScattered, kMixed };

struct Shape {
  int64_t D, F, O, E;
  std::vector<int64_t> rows_E;
  bool gated, bias, keep, indexed;
  Activation activation;
  bool weighted = false;  ///< the gradients are of tokens, which count rows by weights
  Weights weights = Weights::kStack;
};

/// Inputs and outputs of one case.
template <class T>
struct Case {
  Shape shape;
  int64_t R = 0, S = 0;
  Guarded<int64_t> offsets_E, index_R, token_R;
  Guarded<float> weight_R;
  Guarded<T> x, w_in, b_in, w_out, b_out, keep, dout;
  std::vector<Matrix> in_E, out_E;
  moe::test::ScatteredMatrices scattered_in, scattered_out;

  Case(const Shape& s, int64_t rows, uint32_t seed)
      : shape(s),
        R(rows),
        S(s.indexed ? rows / 2 + 1 : rows),
        offsets_E(size(s.E + 1)),
        index_R(size(rows)),
        token_R(size(rows)),
        weight_R(size(rows), seed % 2 == 0),
        x(size(S * s.D)),
        w_in(size(s.E * H() * s.D), seed % 2 == 0),
        b_in(size(s.E * H())),
        w_out(size(s.E * s.O * s.F)),
        b_out(size(s.E * s.O), seed % 2 == 0),
        keep(size(rows * s.F)),
        dout(size(rows * s.O), seed % 2 == 0) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    const auto fill = [&](Guarded<T>& values, double scale) {
      for (T& value : values) value = stored<T>(scale * normal(random));
    };
    fill(x, 1);
    fill(w_in, 1 / std::sqrt(s.D));
    fill(b_in, 1);
    fill(w_out, 1 / std::sqrt(s.F));
    fill(b_out, 1);
    fill(dout, 1);
    for (T& value : keep) value = stored<T>(random() % 4 ? 1.25 : 0);
    for (int64_t& source : index_R) source = random() % static_cast<uint32_t>(S);
    for (int64_t& token : token_R) token = random() % static_cast<uint32_t>(R);
    for (float& weight : weight_R) weight = static_cast<float>(normal(random));
    offsets_E[0] = 0;
    for (int64_t e = 0; e < s.E; ++e)
      offsets_E[size(e + 1)] = offsets_E[size(e)] + s.rows_E[size(e)];
    make_matrices(random);
  }

  void make_matrices(std::mt19937& random) {
    const Shape& s = shape;
    in_E = moe::test::stacked_matrices(w_in.data(), s.E, H(), s.D);
    out_E = moe::test::stacked_matrices(w_out.data(), s.E, s.O, s.F);
    if (s.weights == Weights::kStack) return;
    for (int64_t e = 0; e < s.E; ++e) {
      const auto format = [&] {
        return s.weights == Weights::kScattered ? kFormatOf<T>
                                                : static_cast<NumberFormat>(random() % kFormats);
      };
      if (s.rows_E[size(e)] == 0) {
        scattered_in.add_none();
        scattered_out.add_none();
        continue;
      }
      scattered_in.add(in_E[size(e)], H(), s.D, format(), random() % 3);
      scattered_out.add(out_E[size(e)], s.O, s.F, format(), random() % 3);
    }
    in_E = scattered_in.matrices();
    out_E = scattered_out.matrices();
  }

  static size_t size(int64_t n) { return static_cast<size_t>(n); }
  int64_t H() const { return shape.gated ? 2 * shape.F : shape.F; }
  Experts experts() const { return {shape.E, offsets_E.data()}; }
  RowsOf<T> rows() const { return {x.data(), shape.D, shape.indexed ? index_R.data() : nullptr}; }
  OutputGradients<T> gradients(float* dweight_R) const {
    if (!shape.weighted) return {{dout.data(), shape.O}};
    return {{dout.data(), shape.O, token_R.data()}, weight_R.data(), dweight_R};
  }
  const T* mask() const { return shape.keep ? keep.data() : nullptr; }
  MlpWeights<T> weights() const {
    return {in_E.data(),     shape.bias ? b_in.data() : nullptr,
            out_E.data(),    shape.bias ? b_out.data() : nullptr,
            shape.D,         shape.F,
            shape.O,         shape.gated,
            shape.activation};
  }
};

/// What the kernels make of a case.
template <class T>
struct Outputs {
  Guarded<T> pre, out, drow, dw_in, db_in, dw_out, db_out, dpre;
  Guarded<float> dweight;

  explicit Outputs(const Case<T>& c)
      : pre(c.size(c.R * c.H())),
        out(c.size(c.R * c.shape.O), true),
        drow(c.size(c.R * c.shape.D)),
        dw_in(c.w_in.size()),
        db_in(c.b_in.size(), true),
        dw_out(c.w_out.size()),
        db_out(c.b_out.size()),
        dpre(pre.size()),
        dweight(c.size(c.R), true) {}

  std::vector<std::pair<std::string, const Guarded<T>*>> all() const {
    return {{"pre", &pre},     {"out", &out},       {"drow", &drow},    {"dw_in", &dw_in},
            {"db_in", &db_in}, {"dw_out", &dw_out}, {"db_out", &db_out}};
  }
};

template <class T>
std::unique_ptr<Outputs<T>> run(const Case<T>& c, const Kernels& kernels) {
  auto out = std::make_unique<Outputs<T>>(c);
  mlp_forward<T>(kernels, c.experts(), c.weights(), c.rows(), c.mask(), out->pre.data(),
                 out->out.data());
  std::copy(out->pre.begin(), out->pre.end(), out->dpre.begin());
  mlp_backward<T>(kernels, c.experts(), c.weights(), c.rows(), c.mask(), out->dpre.data(),
                  c.gradients(out->dweight.data()),
                  {out->drow.data(),
                   {out->dw_in.data(), kFormatOf<T>},
                   c.shape.bias ? out->db_in.data() : nullptr,
                   {out->dw_out.data(), kFormatOf<T>},
                   c.shape.bias ? out->db_out.data() : nullptr});
  return out;
}

template <class T>
constexpr double kBound = std::is_same_v<T, float> ? 2e-6 : 0x1p-7;

/// The largest difference over the magnitude of the element's terms.
template <class T>
double error(const Guarded<T>& got, const moe::test::reference::Values& expected) {
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double off = std::fabs(to_double(got[i]) - expected[i].value);
    if (!(off <= INFINITY)) return INFINITY;  // NaN
    if (off > 0) worst = std::max(worst, off / expected[i].magnitude);
  }
  return worst;
}

template <class T>
void expect_reference(const Case<T>& c) {
  const MlpResult expected = moe::test::reference::expert_mlp<T>(c.experts(), c.weights(), c.rows(),
                                                                 c.mask(), c.gradients(nullptr));
  // A square doubles what the rounding of its argument was off by, and is rounded itself.
  const double bound = kBound<T> * (c.shape.activation == Activation::kReluSquared ? 3 : 1);
  for (const auto& [name, table] : kernel_tables()) {
    SCOPED_TRACE(name);
    const auto got = run(c, *table);
    EXPECT_LE(error(got->pre, expected.pre_RH), bound);
    EXPECT_LE(error(got->out, expected.out_RO), bound);
    EXPECT_LE(error(got->drow, expected.drow_RD), bound);
    EXPECT_LE(error(got->dw_in, expected.dw_in), bound);
    EXPECT_LE(error(got->dw_out, expected.dw_out), bound);
    if (c.shape.weighted) {
      EXPECT_LE(error(got->dweight, expected.dweight_R), bound);
    }
    if (c.shape.bias) {
      EXPECT_LE(error(got->db_in, expected.db_in), bound);
      EXPECT_LE(error(got->db_out, expected.db_out), bound);
    }
  }
}

int64_t total(const std::vector<int64_t>& rows_E) {
  int64_t sum = 0;
  for (const int64_t rows : rows_E) sum += rows;
  return sum;
}

/// Mostly small sizes; now and then one beyond a block of the kernels.
Shape random_shape(std::mt19937& random) {
  const auto below = [&](uint32_t n) { return static_cast<int64_t>(random() % n); };
  const auto width = [&] { return 1 + (random() % 3 ? below(40) : below(90)); };
  Shape s{width(), width(), width(), 1 + below(6), {}, false, false, false, false, {}};
  const int64_t load = 1 + below(40);
  for (int64_t e = 0; e < s.E; ++e) s.rows_E.push_back(random() % 4 ? below(load + 1) : 0);
  if (random() % 8 == 0) {  // one takes all
    for (int64_t& rows : s.rows_E) rows = 0;
    s.rows_E[static_cast<size_t>(below(s.E))] = load;
  }
  switch (random() % 64) {
    case 0:
      s.D = 500 + below(700);
      break;
    case 1:
      s.F = 250 + below(500);
      break;
    case 2:
      s.O = 250 + below(300);
      break;
    case 3:
      s.D = 1 + below(6), s.F = 1 + below(6), s.O = 1 + below(6);
      s.rows_E[0] = 200 + below(2200);
      break;
  }
  s.gated = random() % 2;
  s.bias = random() % 2;
  s.keep = random() % 2;
  s.indexed = random() % 2;
  s.activation = static_cast<Activation>(random() % 5);
  s.weighted = random() % 2;
  s.weights = static_cast<Weights>(random() % 3);
  return s;
}

/// MOE_KERNEL_CASES=10000 for the long run.
int cases() {
  const char* const wanted = std::getenv("MOE_KERNEL_CASES");
  return wanted ? std::atoi(wanted) : 250;
}

template <class T>
void expect_reference_on_random_cases(uint32_t seed) {
  std::mt19937 random(seed);
  for (int i = 0; i < cases() && !testing::Test::HasFailure(); ++i) {
    const Shape s = random_shape(random);
    SCOPED_TRACE(concat("case ", i, ": D ", s.D, ", F ", s.F, ", O ", s.O, ", E ", s.E, ", rows ",
                        total(s.rows_E), s.gated ? ", gated" : "", s.bias ? ", bias" : "",
                        s.keep ? ", keep" : "", s.indexed ? ", indexed" : "",
                        s.weighted ? ", weighted" : "", ", activation ",
                        static_cast<int>(s.activation), ", weights ", static_cast<int>(s.weights)));
    expect_reference(Case<T>(s, total(s.rows_E), random()));
  }
}

TEST(CpuKernels, EqualThePlainLoopsInFloat32) {
  expect_reference_on_random_cases<float>(1);
}

TEST(CpuKernels, EqualThePlainLoopsInBfloat16) {
  expect_reference_on_random_cases<BFloat16>(2);
}

template <class T>
void expect_same_bits(const Outputs<T>& got, const Outputs<T>& expected) {
  const auto a = got.all(), b = expected.all();
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_EQ(
        std::memcmp(a[i].second->data(), b[i].second->data(), a[i].second->size() * sizeof(T)), 0)
        << a[i].first;
  EXPECT_EQ(
      std::memcmp(got.dweight.data(), expected.dweight.data(), got.dweight.size() * sizeof(float)),
      0);
}

template <class T>
void expect_threads_change_nothing() {
  for (const auto& rows_E : std::vector<std::vector<int64_t>>{
           {3, 0, 70, 1, 15, 300}, {0, 0, 0, 700, 0, 0}, {1, 1, 1, 1, 1, 1}}) {
    const Shape s{530, 67, 290, 6, rows_E, true, true, false, true, Activation::kSilu, true};
    const Case<T> c(s, total(rows_E), 3);
    for (const auto& [name, table] : kernel_tables()) {
      if (name == "portable" && total(rows_E) > 500) continue;  // slow, and the same code
      SCOPED_TRACE(name);
      const WithThreads one(1);
      const auto expected = run(c, *table);
      for (const int threads : {2, 3, 4}) {
        SCOPED_TRACE(threads);
        const WithThreads more(threads);
        expect_same_bits(*run(c, *table), *expected);
      }
    }
  }
}

TEST(CpuKernels, ThreadsChangeNoBit) {
  expect_threads_change_nothing<float>();
  expect_threads_change_nothing<BFloat16>();
}

template <class T>
void expect_neighbours_change_nothing() {
  const Shape s{77, 45, 33, 2, {40, 5}, true, true, false, true, Activation::kGelu};
  const Case<T> together(s, 45, 5);
  for (const auto& [name, table] : kernel_tables()) {
    SCOPED_TRACE(name);
    const auto expected = run(together, *table);
    for (const int64_t r : {0, 1, 13, 14, 39, 40, 44}) {
      Guarded<int64_t> alone_E(3), index(1);
      alone_E[0] = 0, alone_E[1] = r < 40 ? 1 : 0, alone_E[2] = 1;
      index[0] = together.index_R[static_cast<size_t>(r)];
      Guarded<T> out(static_cast<size_t>(s.O));
      mlp_forward<T>(*table, {2, alone_E.data()}, together.weights(),
                     {together.x.data(), s.D, index.data()}, nullptr, nullptr, out.data());
      EXPECT_EQ(std::memcmp(out.data(), expected->out.data() + r * s.O, out.size() * sizeof(T)), 0)
          << "row " << r;
    }
  }
}

TEST(CpuKernels, NeighboursChangeNoBitOfARow) {
  expect_neighbours_change_nothing<float>();
  expect_neighbours_change_nothing<BFloat16>();
}

TEST(CpuKernels, LinearEqualsThePlainLoops) {
  const Shape s{19, 7, 37, 3, {9, 0, 21}, false, true, false, true, Activation::kRelu};
  const Case<float> c(s, 30, 7);
  for (const auto& [name, table] : kernel_tables()) {
    SCOPED_TRACE(name);
    // w (E, O, D) = w_in with O = H = F.
    Guarded<float> out(30 * 7), drow(30 * 19), dw(c.w_in.size()), db(3 * 7), dout(30 * 7);
    for (size_t i = 0; i < dout.size(); ++i) dout[i] = static_cast<float>(i % 5) - 2;
    const LinearWeights<float> weights = {c.in_E.data(), c.b_in.data(), 19, 7};
    linear_forward<float>(*table, c.experts(), weights, c.rows(), out.data());
    linear_backward<float>(*table, c.experts(), weights, c.rows(), dout.data(),
                           {drow.data(), {dw.data()}, db.data()});
    const MlpResult expected = moe::test::reference::expert_mlp<float>(
        c.experts(), c.weights(), c.rows(), nullptr, c.gradients(nullptr));
    EXPECT_LE(error(out, expected.pre_RH), 1e-5);
    for (int64_t e = 0; e < 3; ++e)
      for (int64_t o = 0; o < 7; ++o)
        for (int64_t d = 0; d < 19; ++d) {
          double sum = 0;
          for (int64_t r = c.experts().begin(e); r < c.experts().begin(e) + s.rows_E[e]; ++r)
            sum += dout[static_cast<size_t>(r * 7 + o)] * c.rows().row(r)[d];
          EXPECT_NEAR(dw[static_cast<size_t>((e * 7 + o) * 19 + d)], sum, 1e-4);
        }
  }
}

TEST(InstructionSets, UnavailableOnesAreRefused) {
  const auto sets = available_instruction_sets();
  ASSERT_GE(sets.size(), 2u);
  EXPECT_EQ(sets[0], InstructionSet::kLibtorch);
  EXPECT_EQ(sets[1], InstructionSet::kPortable);
  EXPECT_ERROR(force_instruction_set(static_cast<InstructionSet>(99)), "expected one of libtorch");
}

}  // namespace

}  // namespace moe::ops::cpu::kernels_test
