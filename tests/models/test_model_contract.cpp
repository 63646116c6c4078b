// The contract of Model, held against every registered family on many options.
// B batch, S sequence, V vocabulary, E experts.
#include <tests/models/tiny.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::models::contract_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_directional_gradients;
using moe::test::expect_identical;
using moe::test::named_parameters_of;
using moe::test::normal;
using moe::test::randomise;
using moe::test::RowsContext;
using moe::test::RowsOutput;
using moe::test::run_rows;
namespace tiny = moe::test::tiny;

using Case = std::tuple<std::string, std::pair<std::string, DecoderOptions>>;

class ModelContract : public testing::TestWithParam<Case> {
 protected:
  /// Models this small lose more by waking threads than they gain.
  const moe::test::WithThreads one_thread_{1};

  const DecoderOptions& options() const { return std::get<1>(GetParam()).second; }
  std::shared_ptr<Model> make(uint64_t seed = 1) const {
    return tiny::make(options(), {.seed = seed});
  }
  /// float64, with biases and scales that matter.
  std::shared_ptr<Model> random() const {
    auto model = make();
    randomise(*model, 2, 0.4);
    return model;
  }
  /// Whether a parameter starts from random numbers: matrices do, biases and scales do not.
  static bool drawn(const std::string& name, const Tensor& value) {
    return value.dim() >= 2 && name.find(".b_") == std::string::npos;
  }
  int64_t moe_layers() const {
    int64_t count = 0;
    for (int64_t i = 0; i < options().uniform.layers; ++i)
      count += options().uniform.experts_of(i) > 0;
    return count;
  }
};

INSTANTIATE_TEST_SUITE_P(Families, ModelContract,
                         testing::Combine(testing::Values(std::string("decoder")),
                                          testing::ValuesIn(tiny::variants())),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param).first;
                         });

TEST_P(ModelContract, GivesFiniteLogitsAndOneReportPerMoELayer) {
  const auto model = make();
  for (const auto& [batch, length] : {std::pair{3, 7}, {1, 1}, {2, 12}, {0, 5}}) {
    const RowsOutput out = run_rows(*model, tiny::ids(batch, length));
    EXPECT_EQ(out.logits_BSV.sizes(), (std::vector<int64_t>{batch, length, tiny::kVocabulary}));
    EXPECT_EQ(out.logits_BSV.scalar_type(), at::kFloat);
    EXPECT_TRUE(out.logits_BSV.isfinite().all().item<bool>());
    ASSERT_EQ(static_cast<int64_t>(out.layers.size()), moe_layers());
    for (const LayerReport& report : out.layers) {
      EXPECT_EQ(report.balance.load_E.size(0), options().uniform.experts_of(report.layer));
      EXPECT_EQ(report.balance.load_E.sum().item<double>(),
                static_cast<double>(batch * length * options().uniform.top_k_of(report.layer)));
    }
    EXPECT_TRUE(out.balance_loss().isfinite().item<bool>());
  }
}

TEST_P(ModelContract, AStateChangesNothing) {
  const at::NoGradGuard no_grad;
  const auto model = random();
  const Tensor ids_BS = tiny::ids(2, 9);
  const Tensor whole = run_rows(*model, ids_BS).logits_BSV;
  GenerationState state = model->new_state(9, at::kDouble);
  state.join(2);
  std::vector<Tensor> parts;
  for (const auto& [begin, end] : {std::pair{0, 4}, {4, 5}, {5, 6}, {6, 9}}) {
    ForwardContext context;
    context.state = &state;
    ModelInputs inputs;
    inputs.tokens.sequences = state.sequences({end - begin, end - begin});
    inputs.tokens.ids_T = ids_BS.slice(1, begin, end).flatten();
    parts.push_back(moe::test::logits(*model, inputs, context).view({2, end - begin, -1}));
  }
  expect_close(at::cat(parts, 1), whole, 1e-10);
  EXPECT_EQ(state.lengths(), (std::vector<int64_t>{9, 9}));
}

TEST_P(ModelContract, SequencesOfAnyLengthsGetWhatEachGetsAlone) {
  const at::NoGradGuard no_grad;
  const auto model = random();
  ModelInputs inputs;
  inputs.tokens.sequences = Sequences::of_lengths({3, 0, 7, 1, 5});
  inputs.tokens.ids_T = tiny::ids(1, 16)[0];
  const Tensor together_TV = moe::test::logits(*model, inputs);
  const Runs& runs = inputs.tokens.sequences.runs;
  for (int64_t n = 0; n < runs.count(); ++n) {
    ModelInputs alone;
    alone.tokens.ids_T = inputs.tokens.ids_T.slice(0, runs.begin(n), runs.end(n));
    expect_close(together_TV.slice(0, runs.begin(n), runs.end(n)), moe::test::logits(*model, alone),
                 1e-12, concat("sequence ", n));
  }
}

TEST_P(ModelContract, AnUnfilledModelBecomesTheSameAsAFilledOne) {
  const auto model = make_model(ModelSpec(options()));
  for (const Parameter& parameter : tensors_of(*model))
    EXPECT_TRUE(parameter.tensor.is_meta()) << parameter.name;
  const auto handles = model->parameters();
  materialise(*model);
  model->draw(1);
  const auto filled = make(1)->named_parameters();
  for (const auto& item : model->named_parameters())
    expect_identical(item.value().detach(), filled[item.key()].detach(), item.key());
  EXPECT_FALSE(handles[0].is_meta()) << "handles taken before see the memory";
}

TEST_P(ModelContract, ALaterTokenChangesNoEarlierLogit) {
  const at::NoGradGuard no_grad;
  const auto model = random();
  Tensor ids_BS = tiny::ids(2, 8);
  const Tensor before = run_rows(*model, ids_BS).logits_BSV;
  ids_BS[0][5] = (ids_BS[0][5].item<int64_t>() + 1) % tiny::kVocabulary;
  const Tensor after = run_rows(*model, ids_BS).logits_BSV;
  expect_close(after[0].slice(0, 0, 5), before[0].slice(0, 0, 5), 1e-13);
  expect_close(after[1], before[1], 1e-13, "the other row");
  EXPECT_FALSE(after[0].slice(0, 5).equal(before[0].slice(0, 5)));
}

TEST_P(ModelContract, PaddingBehindARowChangesNothingInIt) {
  const at::NoGradGuard no_grad;
  const auto model = random();
  const Tensor ids_BS = tiny::ids(2, 8);
  RowsContext context;
  context.valid_BS = at::ones({2, 8}, at::kBool);
  context.valid_BS[1].slice(0, 5).fill_(false);
  const RowsOutput padded = run_rows(*model, ids_BS, context);
  expect_close(padded.logits_BSV[0], run_rows(*model, ids_BS.slice(0, 0, 1)).logits_BSV[0], 1e-12);
  expect_close(padded.logits_BSV[1].slice(0, 0, 5),
               run_rows(*model, ids_BS.slice(0, 1, 2).slice(1, 0, 5)).logits_BSV[0], 1e-12);
  for (const LayerReport& report : padded.layers)
    EXPECT_EQ(report.balance.tokens.item<double>(), 13);
}

TEST_P(ModelContract, GradientsEqualCentralDifferences) {
  const auto model = random();
  const Tensor ids_BS = tiny::ids(2, 5);
  RowsContext context;
  context.training = true;
  const auto loss = [&]() -> Tensor {
    const RowsOutput out = run_rows(*model, ids_BS, context);
    return (out.logits_BSV * normal(out.logits_BSV.sizes(), 5)).sum() + out.balance_loss();
  };
  expect_directional_gradients(loss, named_parameters_of(*model));
}

TEST_P(ModelContract, TheSeedDecidesTheParameters) {
  const auto same = make(5), again = make(5), other = make(6);
  const auto p = again->named_parameters(), q = other->named_parameters();
  for (const auto& item : same->named_parameters()) {
    expect_identical(item.value().detach(), p[item.key()].detach(), item.key());
    EXPECT_EQ(item.value().equal(q[item.key()]), !drawn(item.key(), item.value())) << item.key();
  }
}

TEST_P(ModelContract, LayersStartFromNumbersOfTheirOwn) {
  const auto parameters = make()->named_parameters();
  for (const auto& a : parameters)
    for (const auto& b : parameters)
      if (a.key() < b.key() && drawn(a.key(), a.value()) &&
          a.value().sizes() == b.value().sizes()) {
        EXPECT_FALSE(a.value().equal(b.value())) << a.key() << " and " << b.key();
      }
}

TEST_P(ModelContract, Bfloat16IsCloseToFloat32) {
  const at::NoGradGuard no_grad;
  const auto model = make();
  const Tensor ids_BS = tiny::ids(2, 6);
  RowsContext context;
  const Tensor wide = run_rows(*model, ids_BS, context).logits_BSV;
  context.compute = at::kBFloat16;
  const Tensor narrow = run_rows(*model, ids_BS, context).logits_BSV;
  EXPECT_EQ(narrow.scalar_type(), at::kFloat);
  const double scale = wide.abs().max().item<double>();
  // Rounding may choose other experts for a token or two: the mean must be close.
  EXPECT_LE(((narrow - wide) / scale).abs().mean().item<double>(), 0.03);
  model->to(at::kBFloat16);
  const Tensor all_narrow = run_rows(*model, ids_BS).logits_BSV;
  EXPECT_EQ(all_narrow.scalar_type(), at::kFloat);
  EXPECT_LE(((all_narrow - wide) / scale).abs().mean().item<double>(), 0.05);
}

TEST_P(ModelContract, RefusesIdsAndLengthsOutsideTheModel) {
  const auto model = make();
  Tensor ids_BS = tiny::ids(1, 3);
  ids_BS[0][1] = tiny::kVocabulary;
  EXPECT_ERROR(run_rows(*model, ids_BS), "[0, vocabulary=11), got 11");
  ids_BS[0][1] = -2;
  EXPECT_ERROR(run_rows(*model, ids_BS), "got -2");
  EXPECT_ERROR(run_rows(*model, tiny::ids(1, 13)), "context_length=12 positions, got 13");
  EXPECT_ERROR(run_rows(*model, tiny::ids(1, 3).to(at::kInt)), "int64 ids of shape (T,)");
  ModelInputs inputs;
  inputs.tokens.ids_T = tiny::ids(1, 4)[0];
  inputs.tokens.sequences = Sequences::of_lengths({2, 1});
  EXPECT_ERROR(model->forward(inputs, {}), "expected sequences of 4 tokens in all, got 3");
  inputs.tokens.sequences = {};
  inputs.tokens.domains_T = at::zeros({3}, at::kLong);
  EXPECT_ERROR(model->forward(inputs, {}), "one domain for each of 4 tokens");
  EXPECT_ERROR(model->end_step(std::vector<StepStatistics>(9)), "got 9");

  const at::NoGradGuard no_grad;
  GenerationState state = model->new_state(4, at::kFloat);
  state.join();
  ForwardContext context;
  context.state = &state;
  ModelInputs more;
  more.tokens.sequences = state.sequences({3});
  more.tokens.ids_T = tiny::ids(1, 3)[0];
  model->forward(more, context);
  more.tokens.sequences.first_position = {3};
  EXPECT_ANY_THROW(model->forward(more, context)) << "six positions, where four have room";
  GenerationState foreign;
  context.state = &foreign;
  EXPECT_ERROR(model->forward(more, context), "new_state");
}

}  // namespace

}  // namespace moe::models::contract_test
