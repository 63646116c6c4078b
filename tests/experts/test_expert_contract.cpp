// The contract of Experts, held against every registered kind.
// E experts, L experts of a shard, R rows, S source rows, D width, F hidden, O output width.
#include <memory>
#include <tests/experts/fixtures.h>
#include <tests/reference/grouped.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>
#include <tests/support/public_options.h>
#include <tests/support/unfilled.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <moe/experts/expert_options.h>

namespace moe::experts::contract_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::normal;
using moe::test::randomise;
using moe::test::experts::held;
using moe::test::experts::ids;
using moe::test::experts::some_rows;
using moe::test::experts::with;
using moe::test::reference::Row;

const ExpertsShape kShape = {.d_model = 5, .d_ff = 3, .d_out = 4, .num_experts = 4};

std::shared_ptr<Experts> make(const std::string& kind, const Table& settings = {},
                              ExpertsShape shape = kShape) {
  auto experts = expert_kinds().at(kind).make(shape, settings);
  randomise(*experts, 1);
  return experts;
}

class ExpertContract : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Kinds, ExpertContract, testing::ValuesIn(expert_kinds().names()),
                         [](const auto& info) { return info.param; });

TEST_P(ExpertContract, RowsDoNotDependOnOneAnother) {
  const auto experts = make(GetParam());
  const ExpertRows rows = some_rows(normal({6, 5}, 2));
  const Tensor out_RO = experts->forward(rows, {});
  ASSERT_EQ(out_RO.sizes(), (std::vector<int64_t>{9, 4}));
  EXPECT_EQ(out_RO.scalar_type(), at::kDouble);
  for (int64_t e = 0; e < 4; ++e)
    for (int64_t r = rows.offsets_L[e].item<int64_t>(); r < rows.offsets_L[e + 1].item<int64_t>();
         ++r) {
      const Tensor offsets_L = at::arange(5, at::kLong).gt(e).to(at::kLong);
      const Tensor alone_1O = experts->forward(
          {rows.source_SD, rows.index_R.slice(0, r, r + 1), offsets_L, ids({0})}, {});
      expect_close(alone_1O[0], out_RO[r], 1e-13);
    }
}

TEST_P(ExpertContract, AnIndexEqualsGatheredRows) {
  const auto experts = make(GetParam());
  const ExpertRows rows = some_rows(normal({6, 5}, 2));
  const ExpertRows gathered = {
      rows.source_SD.index_select(0, rows.index_R), {}, rows.offsets_L, rows.token_R};
  expect_close(experts->forward(gathered, {}).slice(0, 0, held(rows)),
               experts->forward(rows, {}).slice(0, 0, held(rows)), 1e-14);
}

TEST_P(ExpertContract, GradientsEqualCentralDifferences) {
  for (const Table& settings : {Table(), with("bias", true)}) {
    const auto experts = make(GetParam(), settings);
    const ExpertRows rows = some_rows(normal({6, 5}, 2));
    std::vector<Tensor> inputs = {rows.source_SD};
    for (const Tensor& parameter : experts->parameters()) inputs.push_back(parameter);
    expect_gradients(
        [&](const auto& in) {
          return experts->forward({in[0], rows.index_R, rows.offsets_L, rows.token_R}, {})
              .slice(0, 0, held(rows));
        },
        inputs);
  }
}

TEST_P(ExpertContract, GradientReachesEveryParameterOfEveryExpertWithRows) {
  const auto experts = make(GetParam(), with("bias", true));
  const ExpertRows rows = some_rows(normal({6, 5}, 2));
  experts->forward(rows, {}).slice(0, 0, held(rows)).sum().backward();
  for (const auto& item : experts->named_parameters()) {
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    ASSERT_EQ(item.value().size(0), 4) << item.key() << " is stacked over experts";
    for (const int64_t e : {0, 2, 3})
      EXPECT_GT(item.value().grad()[e].abs().sum().template item<double>(), 0) << item.key();
    EXPECT_TRUE(item.value().grad()[1].eq(0).all().template item<bool>()) << item.key();
  }
}

TEST_P(ExpertContract, AShardEqualsItsSliceOfTheWhole) {
  Table settings = with("bias", true);
  settings.set("dropout", 0.5);
  const auto whole = make(GetParam(), settings);
  ExpertsShape shape = kShape;
  shape.first = 2, shape.local = 2;
  const auto shard = make(GetParam(), settings, shape);
  const auto all = whole->named_parameters();
  {
    const at::NoGradGuard no_grad;
    for (auto& item : shard->named_parameters()) {
      ASSERT_EQ(item.value().size(0), 2);
      item.value().copy_(all[item.key()].slice(0, 2, 4));
    }
  }
  const ExpertRows rows = some_rows(normal({6, 5}, 2));
  const ExpertRows part = {rows.source_SD, rows.index_R.slice(0, 3, 7), ids({0, 3, 4}),
                           rows.token_R.slice(0, 3, 7)};
  for (const bool training : {false, true}) {
    LayerContext context;
    context.training = training;
    expect_close(shard->forward(part, context), whole->forward(rows, context).slice(0, 3, 7),
                 1e-14);
  }
}

TEST_P(ExpertContract, ComputesInTheTypeOfTheSource) {
  const auto experts = make(GetParam(), with("bias", true));
  const ExpertRows rows = some_rows(normal({6, 5}, 2));
  const Tensor expected_RO = experts->forward(rows, {}).slice(0, 0, held(rows));
  for (const auto& [dtype, bound] : {std::pair{at::kFloat, 1e-5}, std::pair{at::kBFloat16, 0.1}}) {
    const Tensor out_RO = experts->forward(
        {rows.source_SD.to(dtype), rows.index_R, rows.offsets_L, rows.token_R}, {});
    EXPECT_EQ(out_RO.scalar_type(), dtype);
    expect_close(out_RO.slice(0, 0, held(rows)), expected_RO, bound);
  }
}

TEST_P(ExpertContract, DropoutFollowsTokenAndExpertAndNotTheOrderOfRows) {
  const auto experts = make(GetParam(), with("dropout", 0.5));
  LayerContext context;
  context.training = true;
  context.random = {.seed = 5, .step = 2};
  const Tensor source_SD = normal({6, 5}, 2);
  const Tensor forward_RO = experts->forward(
      {source_SD, ids({0, 1, 2, 3}), ids({0, 3, 3, 4, 4}), ids({10, 11, 12, 13})}, context);
  const Tensor turned_RO = experts->forward(
      {source_SD, ids({2, 1, 0, 3}), ids({0, 3, 3, 4, 4}), ids({12, 11, 10, 13})}, context);
  expect_close(turned_RO, forward_RO.index_select(0, ids({2, 1, 0, 3})), 1e-14);
  expect_close(experts->forward({source_SD, ids({3}), ids({0, 0, 0, 1, 1}), ids({13})}, context),
               forward_RO.slice(0, 3, 4), 1e-14);

  const auto masks_differ = [&](const ExpertRows& rows, const LayerContext& other) {
    const Tensor plain = experts->forward(rows, {}), dropped = experts->forward(rows, other);
    return !plain.equal(dropped);
  };
  const ExpertRows all = {source_SD, {}, ids({0, 6, 6, 6, 6}), ids({0, 1, 2, 3, 4, 5})};
  EXPECT_TRUE(masks_differ(all, context));
  LayerContext later = context;
  later.random.step = 3;
  EXPECT_FALSE(experts->forward(all, context).equal(experts->forward(all, later)));
  context.training = false;
  EXPECT_FALSE(masks_differ(all, context)) << "evaluation drops nothing";
}

TEST_P(ExpertContract, TakesNoRows) {
  const auto experts = make(GetParam(), with("bias", true));
  for (const Tensor& index_R : {ids({}), Tensor()}) {
    LayerContext context;
    context.training = true;
    Tensor source_SD = at::zeros({0, 5}, at::kDouble).set_requires_grad(true);
    const Tensor out_RO =
        experts->forward({source_SD, index_R, at::zeros({5}, at::kLong), ids({})}, context);
    EXPECT_EQ(out_RO.sizes(), (std::vector<int64_t>{0, 4}));
    out_RO.sum().backward();
    for (const Tensor& parameter : experts->parameters())
      EXPECT_TRUE(parameter.grad().defined() && parameter.grad().eq(0).all().item<bool>());
  }
}

TEST_P(ExpertContract, LivesWithoutMemory) {
  test::expect_lives_without_memory([&](const at::TensorOptions& tensors) {
    ExpertsShape shape = kShape;
    shape.first = 1, shape.local = 2, shape.tensors = tensors;
    return expert_kinds().at(GetParam()).make(shape, with("bias", true));
  });
}

TEST_P(ExpertContract, SaysThatItsParametersAreStacksOfThisRanksExperts) {
  ExpertsShape shape = kShape;
  shape.first = 1, shape.local = 2;
  const auto experts = make(GetParam(), with("bias", true), shape);
  for (const Parameter& parameter : parameters_of(*experts)) {
    SCOPED_TRACE(parameter.name);
    EXPECT_EQ(parameter.info.part, Part::kExperts);
    EXPECT_TRUE(parameter.info.per_expert && parameter.info.sharded);
    EXPECT_EQ(parameter.info.first_expert, 1);
    EXPECT_EQ(parameter.info.role == Role::kMatrix, parameter.tensor.dim() == 3);
    int64_t outputs = 0;
    for (const int64_t part : parameter.info.fused) outputs += part;
    if (outputs > 0) {
      EXPECT_EQ(outputs, parameter.tensor.size(1));
    }
  }
  EXPECT_EQ(experts->stacked_parameters().size(), experts->parameters().size());
}

TEST_P(ExpertContract, RefusesBadShapesAndSettings) {
  ExpertsShape shape = kShape;
  shape.d_ff = 0;
  EXPECT_ERROR(make(GetParam(), {}, shape), "above 0");
  shape = kShape;
  shape.first = 3, shape.local = 2;
  EXPECT_ERROR(make(GetParam(), {}, shape), "inside [0, 4)");
  EXPECT_ERROR(make(GetParam(), with("no_such_key", 1)), "no_such_key");
}

TEST(PublicExpertOptions, EveryBuiltInKindHasThemAndTheyMakeIt) {
  const std::vector<std::string> found = {
      moe::test::expect_public_options<AdvancedExpert, ExpertSpec>(expert_kinds()),
      moe::test::expect_public_options<BasicExpert, ExpertSpec>(expert_kinds()),
      moe::test::expect_public_options<ClampedExpert, ExpertSpec>(expert_kinds()),
      moe::test::expect_public_options<FfnExpert, ExpertSpec>(expert_kinds()),
      moe::test::expect_public_options<GatedExpert, ExpertSpec>(expert_kinds()),
      moe::test::expect_public_options<LoraExpert, ExpertSpec>(expert_kinds()),
      moe::test::expect_public_options<LowRankExpert, ExpertSpec>(expert_kinds()),
      moe::test::expect_public_options<MixedWidthsExpert, ExpertSpec>(expert_kinds()),
      moe::test::expect_public_options<TopActivationsExpert, ExpertSpec>(expert_kinds())};
#define X(name, help) #name,
  const std::vector<std::string> built_in = {
#include <moe/experts/experts.def>
  };
#undef X
  EXPECT_EQ(found, built_in);

  const ExpertSpec spec = GatedExpert{.d_ff = 7, .bias = true};
  EXPECT_EQ(spec.d_ff, 7);
  EXPECT_EQ(spec.make(kShape)->parameters().size(), 4u);
  EXPECT_EQ(ExpertSpec(GatedExpert{}).make(kShape)->parameters().size(), 2u);
}

TEST(StackedExperts, SayWhichMatricesStandOnOneAnother) {
  for (const auto& [kind, parts] : {std::pair{"gated", std::vector<int64_t>{3, 3}}, {"ffn", {}}})
    for (const Parameter& parameter : parameters_of(*make(kind, with("bias", true)))) {
      const bool in = parameter.tensor.size(1) != kShape.d_out;
      EXPECT_EQ(parameter.info.fused, in ? parts : std::vector<int64_t>()) << parameter.name;
      EXPECT_EQ(parameter.info.residual, !in && parameter.info.role == Role::kMatrix);
    }
}

/// The two kinds whose formula is known here, against plain loops.
TEST(StackedExperts, EqualALoopOfDenseNets) {
  for (const std::string kind : {"ffn", "gated"})
    for (const std::string act : {"relu", "gelu", "gelu_tanh", "silu"})
      for (const bool bias : {false, true}) {
        SCOPED_TRACE(concat(kind, ' ', act, bias ? " bias" : ""));
        Table settings = with("activation", act);
        settings.set("bias", bias);
        const auto experts = make(kind, settings);
        const auto p = experts->named_parameters();
        const auto optional = [&](const char* name) { return bias ? p[name] : Tensor(); };
        const moe::test::reference::Mlp mlp = {p["w_in"],
                                               optional("b_in"),
                                               p["w_out"],
                                               optional("b_out"),
                                               ops::parse_activation(act, "test"),
                                               kind == "gated"};
        const ExpertRows rows = some_rows(normal({6, 5}, 2));
        const Tensor expected_RO = moe::test::reference::rows(
            rows.source_SD, rows.index_R, rows.offsets_L, 4,
            [&](int64_t e, const Row& x_D, int64_t) { return mlp(e, x_D); });
        expect_close(experts->forward(rows, {}).slice(0, 0, held(rows)),
                     expected_RO.slice(0, 0, held(rows)), 1e-13);
      }
}

TEST(StackedExperts, CountTheirMultiplications) {
  EXPECT_EQ(make("ffn")->flops_per_row(), 2 * (5 * 3 + 3 * 4));
  EXPECT_EQ(make("gated")->flops_per_row(), 2 * (2 * 5 * 3 + 3 * 4));
}

TEST(StackedExperts, RefuseAnUnknownActivationAndDropoutOfOne) {
  EXPECT_ERROR(make("gated", with("activation", "swish")), "activation");
  EXPECT_ERROR(make("gated", with("dropout", 1.0)), "dropout");
}

}  // namespace

}  // namespace moe::experts::contract_test
