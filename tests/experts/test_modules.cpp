// Modules of a user as experts. R rows, D width, O output width, M rows of one expert.
#include <tests/experts/fixtures.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/sin.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>

#include <moe/experts/modules.h>
#include <moe/parameters/initialise.h>

namespace moe::experts::modules_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;
using moe::test::experts::held;
using moe::test::experts::ids;
using moe::test::experts::some_rows;

constexpr int64_t kIn = 5, kOut = 4, kExperts = 4;
const ExpertsShape kModulesShape = {
    .d_model = kIn, .d_ff = 1, .d_out = kOut, .num_experts = kExperts};

/// out = sin(x w) * scale: a class of the user's own.
struct WaveImpl : torch::nn::Module {
  WaveImpl() {
    w = register_parameter("w", normal({kIn, kOut}, 31) * 0.5);
    scale = register_parameter("scale", normal({kOut}, 32));
  }
  Tensor forward(const Tensor& x_MD) { return at::sin(x_MD.matmul(w)) * scale; }
  Tensor w, scale;
};

torch::nn::Sequential net(int64_t hidden) {
  torch::nn::Sequential out(torch::nn::Linear(kIn, hidden), torch::nn::Tanh(),
                            torch::nn::Linear(hidden, kOut));
  moe::test::randomise(*out, static_cast<uint64_t>(hidden));
  return out;
}

/// Two hidden widths, a single linear map, and a user-defined class.
std::vector<ModuleExpert> unequal() {
  torch::nn::Linear linear(kIn, kOut);
  moe::test::randomise(*linear, 9);
  return {net(2), net(7), linear, std::make_shared<WaveImpl>()};
}

std::vector<ModuleExpert> equal(int64_t hidden = 3) {
  std::vector<ModuleExpert> out;
  for (int64_t e = 0; e < kExperts; ++e) {
    out.emplace_back(net(hidden));
    moe::test::randomise(*out.back().module(), static_cast<uint64_t>(e));
  }
  return out;
}

TEST(ModuleExperts, EqualALoopOverRowsForUnequalModules) {
  auto loop = unequal();
  const auto experts = modules(loop)(kModulesShape);
  const ExpertRows rows = some_rows(normal({6, kIn}, 2));
  const Tensor out_RO = experts->forward(rows, {});
  ASSERT_EQ(out_RO.sizes(), (std::vector<int64_t>{9, kOut}));
  for (int64_t e = 0; e < kExperts; ++e)
    for (int64_t r = rows.offsets_L[e].item<int64_t>(); r < rows.offsets_L[e + 1].item<int64_t>();
         ++r) {
      const Tensor x_1D = rows.source_SD.index_select(0, rows.index_R.slice(0, r, r + 1));
      expect_close(out_RO[r], loop[static_cast<size_t>(e)](x_1D)[0], 1e-14);
    }
}

TEST(ModuleExperts, GradientsEqualCentralDifferences) {
  const auto experts = modules(unequal())(kModulesShape);
  const ExpertRows rows = some_rows(normal({6, kIn}, 2));
  std::vector<Tensor> inputs = {rows.source_SD};
  for (const Tensor& parameter : experts->parameters()) inputs.push_back(parameter);
  expect_gradients(
      [&](const auto& in) {
        return experts->forward({in[0], rows.index_R, rows.offsets_L, rows.token_R}, {})
            .slice(0, 0, held(rows));
      },
      inputs);
}

TEST(ModuleExperts, AnIndexEqualsGatheredRows) {
  const auto experts = modules(unequal())(kModulesShape);
  const ExpertRows rows = some_rows(normal({6, kIn}, 2));
  const ExpertRows gathered = {
      rows.source_SD.index_select(0, rows.index_R), {}, rows.offsets_L, rows.token_R};
  expect_identical(experts->forward(gathered, {}).slice(0, 0, held(rows)),
                   experts->forward(rows, {}).slice(0, 0, held(rows)));
}

TEST(ModuleExperts, NamesParametersByTheGlobalNumberOfTheExpert) {
  ExpertsShape shard = kModulesShape;
  shard.first = 2, shard.local = 2;
  std::vector<std::string> names;
  for (const auto& item : modules(unequal())(shard)->named_parameters())
    names.push_back(item.key());
  EXPECT_EQ(names, (std::vector<std::string>{"2.weight", "2.bias", "3.w", "3.scale"}));
}

TEST(ModuleExperts, AFactoryMakesTheExpertsOfTheRankAlone) {
  ExpertsShape shard = kModulesShape;
  shard.first = 1, shard.local = 2;
  std::vector<int64_t> made;
  const auto experts = modules([&](int64_t expert) {
    made.push_back(expert);
    return net(expert + 1);
  })(shard);
  EXPECT_EQ(made, (std::vector<int64_t>{1, 2}));
  const ExpertRows rows = {normal({6, kIn}, 2), ids({5, 0, 0}), ids({0, 1, 3}), ids({5, 0, 0})};
  EXPECT_EQ(experts->forward(rows, {}).sizes(), (std::vector<int64_t>{3, kOut}));
}

TEST(ModuleExperts, KeepTheNumbersTheyComeWith) {
  auto mine = unequal();
  const auto experts = modules(mine)(kModulesShape);
  const Tensor before = mine[2].module()->named_parameters()["weight"].detach().clone();
  initialise(*experts, {}, 4);
  expect_identical(mine[2].module()->named_parameters()["weight"].detach(), before);
}

TEST(ModuleExperts, SayWhoseParametersTheyHold) {
  ExpertsShape shard = kModulesShape;
  shard.first = 1, shard.local = 2;
  const Parameters parameters = parameters_of(*modules(equal())(shard));
  ASSERT_EQ(parameters.size(), 8u);
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(parameters[i].info.expert, i < 4 ? 1 : 2);
    EXPECT_EQ(parameters[i].info.part, Part::kExperts);
    EXPECT_EQ(parameters[i].info.role, i % 2 == 0 ? Role::kMatrix : Role::kBias);
    EXPECT_TRUE(parameters[i].info.keeps_start);
    EXPECT_TRUE(parameters[i].info.is_local());
    EXPECT_FALSE(parameters[i].info.per_expert);
  }
}

TEST(ModuleExperts, ComputeInTheirOwnTypeAndReturnThatOfTheSource) {
  auto mine = unequal();
  const auto experts = modules(mine)(kModulesShape);
  const ExpertRows rows = some_rows(normal({6, kIn}, 2));
  const Tensor expected_RO = experts->forward(rows, {}).slice(0, 0, held(rows));
  for (const auto& [dtype, bound] : {std::pair{at::kFloat, 1e-6}, std::pair{at::kBFloat16, 0.05}}) {
    const Tensor out_RO = experts->forward(
        {rows.source_SD.to(dtype), rows.index_R, rows.offsets_L, rows.token_R}, {});
    EXPECT_EQ(out_RO.scalar_type(), dtype);
    expect_close(out_RO.slice(0, 0, held(rows)), expected_RO, bound);
  }
}

TEST(ModuleExperts, AModuleWithoutRowsIsNotCalledAndARankWithoutRowsStillGoesBack) {
  const auto experts = modules(unequal())(kModulesShape);
  Tensor source_SD = normal({6, kIn}, 2).set_requires_grad(true);
  const ExpertRows rows = some_rows(source_SD);
  experts->forward(rows, {}).slice(0, 0, held(rows)).sum().backward();
  const auto parameters = experts->named_parameters();
  EXPECT_FALSE(parameters["1.0.weight"].grad().defined());
  EXPECT_TRUE(parameters["3.w"].grad().defined());

  for (const Tensor& index_R : {ids({}), Tensor()}) {
    Tensor nothing_SD = at::zeros({0, kIn}, at::kDouble).set_requires_grad(true);
    const Tensor out_RO =
        experts->forward({nothing_SD, index_R, at::zeros({5}, at::kLong), ids({})}, {});
    EXPECT_EQ(out_RO.sizes(), (std::vector<int64_t>{0, kOut}));
    ASSERT_TRUE(out_RO.requires_grad());
    out_RO.sum().backward();
    EXPECT_TRUE(nothing_SD.grad().defined());
  }
}

TEST(ModuleExperts, FollowTheContextIntoTrainingAndBack) {
  const auto experts = modules([](int64_t) {
    torch::nn::Sequential out(torch::nn::Linear(kIn, kOut), torch::nn::Dropout(0.5));
    moe::test::randomise(*out, 3);
    return out;
  })(kModulesShape);
  const ExpertRows rows = some_rows(normal({6, kIn}, 2));
  const auto zeros_in = [&](bool training) {
    LayerContext context;
    context.training = training;
    return experts->forward(rows, context).slice(0, 0, held(rows)).eq(0).any().item<bool>();
  };
  EXPECT_FALSE(zeros_in(false)) << "modules are made in training mode";
  EXPECT_TRUE(zeros_in(true));
  EXPECT_FALSE(zeros_in(false));
}

TEST(ModuleExperts, StackEqualModulesForTermsOnWeights) {
  auto mine = equal();
  const auto stacks = modules(mine)(kModulesShape)->stacked_parameters();
  ASSERT_EQ(stacks.size(), 4u);
  EXPECT_EQ(stacks[0].name, "0.weight");
  EXPECT_EQ(stacks[0].tensor.sizes(), (std::vector<int64_t>{kExperts, 3, kIn}));
  EXPECT_EQ(stacks[0].info.role, Role::kMatrix);
  EXPECT_EQ(stacks[1].info.role, Role::kBias);
  EXPECT_TRUE(stacks[0].info.per_expert);
  expect_identical(stacks[0].tensor[2].detach(),
                   mine[2].module()->named_parameters()["0.weight"].detach());
  EXPECT_ERROR(modules(unequal())(kModulesShape)->stacked_parameters(),
               "expected experts of one shape for a term on their weights");
}

TEST(ModuleExperts, CountTheMultiplicationsOfAMeanExpert) {
  EXPECT_EQ(modules(equal())(kModulesShape)->flops_per_row(), 2 * (kIn * 3 + 3 * kOut));
  const int64_t all = (2 + 7) * (kIn + kOut) + kIn * kOut + kIn * kOut;
  EXPECT_EQ(modules(unequal())(kModulesShape)->flops_per_row(), 2 * all / 4);
}

TEST(ModuleExperts, RefuseWhatCannotBeAnExpert) {
  auto shared = equal();
  shared[3] = shared[1];
  EXPECT_ERROR(modules(shared)(kModulesShape),
               "a module of its own for expert 3, got that of expert 1");
  EXPECT_ERROR(modules([](int64_t) { return ModuleExpert(); })(kModulesShape),
               "expected a module for expert 0, got none");
  auto few = equal();
  few.pop_back();
  EXPECT_ERROR(modules(few)(kModulesShape), "a module for each of num_experts=4, got 3");
  ExpertsShape wide = kModulesShape;
  wide.d_out = 6;
  const ExpertRows rows = some_rows(normal({6, kIn}, 2));
  EXPECT_ERROR(modules(equal())(wide)->forward(rows, {}),
               "expected expert 0 to return (M=3, O=6), got [3, 4]");
}

TEST(ModuleExperts, BecomeAKindByRegistration) {
  register_module_experts("test_unequal_modules", "a test's own",
                          [](int64_t expert) { return net(expert + 1); });
  const auto kind = expert_kinds().at("test_unequal_modules");
  EXPECT_TRUE(kind.fields().empty());
  EXPECT_TRUE(kind.resolve({}).empty());
  EXPECT_EQ(kind.make(kModulesShape, {})->named_parameters()["3.0.weight"].size(0), 4);
  EXPECT_ERROR(kind.make(kModulesShape, moe::test::experts::with("hidden", 3)), "hidden");
  EXPECT_ERROR(kind.check(moe::test::experts::with("hidden", 3), "e"), "hidden");
}

}  // namespace

}  // namespace moe::experts::modules_test
