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

#include <moe/models/counts.h>

namespace moe::models::contract_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_directional_gradients;
using moe::test::expect_identical;
using moe::test::named_parameters_of;
using moe::test::normal;
using moe::test::randomise;
namespace tiny = moe::test::tiny;

using Case = std::tuple<std::string, std::pair<std::string, DecoderOptions>>;

class ModelContract : public testing::TestWithParam<Case> {
 protected:
  /// Models this small lose more by waking threads than they gain.
  const moe::test::WithThreads one_thread_{1};

  const std::string& family() const { return std::get<0>(GetParam()); }
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
    for (int64_t i = 0; i < options().uniform.layers; ++i) count += options().uniform.experts_of(i) > 0;
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

TEST_P(ModelContract, ACacheChangesNothing) {
  const at::NoGradGuard no_grad;
  const auto model = random();
  const Tensor ids_BS = tiny::ids(2, 9);
  const Tensor whole = run_rows(*model, ids_BS).logits_BSV;
  DecoderState state = model->new_state(2, 9, at::kDouble);
  std::vector<Tensor> parts;
  for (const auto& [begin, end] : {std::pair{0, 4}, {4, 5}, {5, 6}, {6, 9}}) {
    RowsContext context;
    context.state = &state;
    parts.push_back(run_rows(*model, ids_BS.slice(1, begin, end), context).logits_BSV);
  }
  expect_close(at::cat(parts, 1), whole, 1e-10);
  EXPECT_EQ(state.length(), 9);
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
  expect_close(padded.logits_BSV[0], run_rows(*model, ids_BS.slice(0, 0, 1)).logits_BSV[0],
               1e-12);
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

TEST_P(ModelContract, CountsAreThoseOfTheInstantiatedModel) {
  int64_t total = 0, unused = 0;
  for (const auto& item : make()->named_parameters()) {
    total += item.value().numel();
    if (item.key().find(".experts.") == std::string::npos) continue;
    const int64_t layer = std::stoll(item.key().substr(std::string("layers.").size()));
    const int64_t E = options().uniform.experts_of(layer);
    unused += item.value().numel() / E * (E - options().uniform.top_k_of(layer));
  }
  const ModelCounts counts = count(options());
  EXPECT_EQ(counts.total, total);
  EXPECT_EQ(counts.active, total - unused);
  const int64_t matrix = options().vocabulary * options().d_model;
  EXPECT_EQ(counts.active_without_embeddings,
            counts.active - matrix * (options().tied_embeddings ? 1 : 2));
  EXPECT_EQ(counts.active_without_input_embedding, counts.active_without_embeddings + matrix);
}

TEST_P(ModelContract, TheDenseTwinCostsTheSameButForTheRouter) {
  const DecoderOptions& o = options();
  const DecoderOptions twin = dense_twin(o);
  int64_t router = 0, slack = 0;
  for (int64_t i = 0; i < o.uniform.layers; ++i) {
    EXPECT_EQ(twin.uniform.experts_of(i), 0);
    if (o.uniform.experts_of(i) > 0) {
      router += o.uniform.experts_of(i) * o.d_model + (o.uniform.moe.shared.gate ? o.d_model : 0);
      const Value* bias = o.uniform.moe.router.options.find("bias");
      if (bias) router += o.uniform.experts_of(i);
    }
    slack += 3 * o.d_model / 2;  // widths are whole numbers
  }
  // Biases are counted as parameters: compare without them.
  DecoderOptions bare = o, bare_twin = twin;
  bare.uniform.feed_forward_bias = bare_twin.uniform.feed_forward_bias = false;
  bare.uniform.moe.expert.options = {};
  const int64_t difference =
      count(bare).flops_per_token - count(bare_twin).flops_per_token - 2 * router;
  EXPECT_LE(std::abs(difference), 2 * slack);
  const auto model = tiny::make(twin);
  EXPECT_TRUE(run_rows(*model, tiny::ids(1, 4)).layers.empty());
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
  EXPECT_ERROR(run_rows(*model, tiny::ids(1, 3).to(at::kInt)), "int64 ids of shape (B, S)");
  RowsContext context;
  context.valid_BS = at::ones({1, 4}, at::kBool);
  EXPECT_ERROR(run_rows(*model, tiny::ids(1, 3), context), "valid_BS");

  const at::NoGradGuard no_grad;
  DecoderState state = model->new_state(1, 4, at::kFloat);
  RowsContext cached;
  cached.state = &state;
  run_rows(*model, tiny::ids(1, 3), cached);
  EXPECT_ERROR(run_rows(*model, tiny::ids(1, 2), cached), "at most 4 positions, got 5");
  DecoderState foreign;
  cached.state = &foreign;
  EXPECT_ERROR(run_rows(*model, tiny::ids(1, 3), cached), "new_state");
  EXPECT_ERROR(model->end_step(std::vector<StepStatistics>(9)), "got 9");
}

}  // namespace

}  // namespace moe::models::contract_test
