// What a training step of the MoE layer needs beside its gradients, and that it touches no fresh
// memory. T tokens, D width, F hidden, E experts, K choices, N = T·K pairs.
#include <tests/support/gradcheck.h>
#include <tests/support/page_faults.h>

#include <ATen/ops/arange.h>

#include <moe/base/error.h>
#include <moe/base/memory.h>
#include <moe/layers/moe_layer.h>
#include <moe/ops/cpu/loops.h>
#include <moe/ops/grouped.h>

namespace moe::layers::memory_test {

namespace {

using moe::test::normal;
using moe::test::page_faults;

struct Shape {
  int64_t T, D, F, E, K;
  at::ScalarType type = at::kFloat;
};

std::string text(const Shape& s) {
  return concat(s.T, " tokens, D ", s.D, ", F ", s.F, ", E ", s.E, ", K ", s.K, ", ", s.type);
}

MoELayer layer_of(const Shape& s) {
  MoELayer layer(MoELayerOptions{
      .d_model = s.D, .num_experts = s.E, .top_k = s.K, .expert = {.kind = "gated", .d_ff = s.F}});
  layer->to(s.type);
  return layer;
}

/// One training step; the parameters' gradients stay on them.
void step(MoELayer& layer, const Tensor& x_TD) {
  for (auto& parameter : layer->parameters()) parameter.mutable_grad() = Tensor();
  const Tensor input_TD = x_TD.detach().requires_grad_(true);
  layer->forward_tokens(input_TD, {}).hidden_TD.backward(x_TD);
}

/// Bytes of the most that `work` had in use at once beyond what was there before.
template <class Work>
int64_t extra_peak(const Work& work) {
  memory_pool().release();
  const auto before = memory_pool().use().in_use;
  work();
  return static_cast<int64_t>(memory_pool().use().most_in_use - before);
}

int64_t bytes_of(const std::vector<Tensor>& tensors) {
  int64_t bytes = 0;
  for (const auto& tensor : tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  return bytes;
}

/// Elements of the peak beside the gradients of gated experts: what stands there at the end of the
/// kernels' backward pass: pre-activations and, in their place, these' gradients (2F); hidden units
/// (F, of few rows at a time); gradients of rows (D).
int64_t expert_elements(const Shape& s) {
  const int64_t N = s.T * s.K;
  return N * (3 * s.F + s.D);
}

/// Threads' panels, and pages that are not full.
constexpr int64_t kSmallBytes = int64_t{4} << 20;

struct OnThePool : testing::Test {
  static void SetUpTestSuite() { keep_freed_memory(); }
  void SetUp() override {
    if (!ops::cpu::loops_take(normal({1, 1}, 1).to(at::kFloat)))
      GTEST_SKIP() << "MOE_CPU=libtorch computes without the kernels whose memory this counts";
  }
};

using LayerMemory = OnThePool;

/// Forward and backward of the experts alone.
int64_t peak_of_experts(const Shape& s) {
  const int64_t N = s.T * s.K;
  const auto of = [&](at::IntArrayRef sizes, uint64_t seed) {
    return normal(sizes, seed).to(s.type).requires_grad_(true);
  };
  const Tensor w_in = of({s.E, 2 * s.F, s.D}, 1), w_out = of({s.E, s.D, s.F}, 2);
  const Tensor source_ND = of({N, s.D}, 3), dout_ND = normal({N, s.D}, 4).to(s.type);
  const Tensor offsets_E = at::arange(s.E + 1, at::kLong).mul(N).floor_divide(s.E);
  const int64_t peak = extra_peak([&] {
    const Tensor out_ND = ops::grouped_mlp(
        source_ND, {}, offsets_E, {w_in, {}, w_out, {}, ops::Activation::kSilu, /*gated=*/true});
    out_ND.backward(dout_ND);
  });
  return peak - bytes_of({w_in.grad(), w_out.grad(), source_ND.grad()}) - bytes_of({dout_ND});
}

TEST_F(LayerMemory, OfTheExpertsFollowsItsFormula) {
  for (const Shape& s : {Shape{1024, 128, 256, 4, 2}, Shape{2048, 64, 256, 8, 1},
                         Shape{512, 256, 128, 16, 4}, Shape{1024, 128, 256, 4, 2, at::kBFloat16}}) {
    SCOPED_TRACE(text(s));
    const int64_t bytes = peak_of_experts(s);
    const int64_t allowed = expert_elements(s) * static_cast<int64_t>(c10::elementSize(s.type));
    EXPECT_LE(bytes, allowed + kSmallBytes);
    EXPECT_GE(bytes, allowed / 2) << "what is counted is not what is used";
  }
}

TEST_F(LayerMemory, OfTheExpertsDoesNotGrowWithTheirNumber) {
  const int64_t few = peak_of_experts({2048, 64, 64, 4, 2});
  const int64_t many = peak_of_experts({2048, 64, 64, 256, 2});
  EXPECT_LE(many - few, kSmallBytes / 8);
}

TEST_F(LayerMemory, OfAStepFollowsItsFormula) {
  for (const Shape& s : {Shape{2048, 128, 256, 4, 2}, Shape{2048, 128, 256, 16, 4},
                         Shape{4096, 128, 256, 16, 4, at::kBFloat16}}) {
    SCOPED_TRACE(text(s));
    MoELayer layer = layer_of(s);
    const Tensor x_TD = normal({s.T, s.D}, 2).to(s.type);
    std::vector<Tensor> gradients;
    const int64_t peak = extra_peak([&] { step(layer, x_TD); });
    for (const auto& parameter : layer->parameters()) gradients.push_back(parameter.grad());
    const int64_t bytes = peak - bytes_of(gradients) - bytes_of({x_TD});
    // Beside the experts': a vector a token (the gradient of the output), and the router's numbers,
    // of which alone there are more with more experts.
    const int64_t elements = expert_elements(s) + s.T * s.D + 8 * s.T * s.E;
    EXPECT_LE(bytes, elements * static_cast<int64_t>(c10::elementSize(s.type)) + kSmallBytes);
  }
}

TEST_F(LayerMemory, StepTouchesNoFreshPages) {
  if (const char* reason = test::no_page_faults_here()) GTEST_SKIP() << reason;
  constexpr int64_t kSteps = 5, kNoise = 64;
  for (const Shape& s : {Shape{512, 128, 256, 64, 2}, Shape{512, 64, 64, 512, 1},
                         Shape{512, 128, 256, 64, 2, at::kBFloat16}}) {
    SCOPED_TRACE(text(s));
    MoELayer layer = layer_of(s);
    const Tensor x_TD = normal({s.T, s.D}, 2).to(s.type);
    for (int i = 0; i < 3; ++i) step(layer, x_TD);
    const auto mapped = memory_pool().use().mapped;
    int64_t before = page_faults();
    for (int64_t i = 0; i < kSteps; ++i) step(layer, x_TD);
    EXPECT_LE(page_faults() - before, kSteps * kNoise);
    EXPECT_EQ(memory_pool().use().mapped, mapped);
    // The counter sees what is fresh.
    before = page_faults();
    test::touch_fresh_pages(2 * kSteps * kNoise);
    EXPECT_GE(page_faults() - before, 2 * kSteps * kNoise);
  }
}

TEST_F(LayerMemory, StepsOfManyLoadsTouchFewFreshPages) {
  if (const char* reason = test::no_page_faults_here()) GTEST_SKIP() << reason;
  // The number of rows changes from step to step, and with it the size of every activation.
  const Shape s = {1024, 128, 256, 16, 2};
  MoELayer layer = layer_of(s);
  const Tensor x_TD = normal({s.T, s.D}, 2).to(s.type);
  const auto some = [&](int64_t i) { step(layer, x_TD.slice(0, 0, s.T - 37 * (i * 7 % 11))); };
  for (int64_t i = 0; i < 11; ++i) some(i);
  const int64_t before = page_faults();
  for (int64_t i = 11; i < 33; ++i) some(i);
  EXPECT_LE(page_faults() - before, 22 * 64);
}

}  // namespace

}  // namespace moe::layers::memory_test
