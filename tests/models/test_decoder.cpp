// What decoders do beyond the contract. B batch, S sequence, E experts.
#include <tests/models/tiny.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/experts/experts.h>
#include <moe/layers/chunked_loss.h>

namespace moe::models::decoder_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::randomise;
using moe::test::RowsContext;
using moe::test::RowsOutput;
using moe::test::run_rows;
namespace tiny = moe::test::tiny;

DecoderOptions with_dropout() {
  DecoderOptions o = tiny::options();
  o.uniform.dropout = 0.2, o.uniform.attention_dropout = 0.3;
  o.uniform.moe.expert.options = tiny::with("dropout", 0.4);
  return o;
}

TEST(Decoder, DropoutDependsOnSeedStepAndTokenOnly) {
  const auto model = tiny::make(with_dropout());
  randomise(*model, 2, 0.4);
  const Tensor ids_BS = tiny::ids(3, 6);
  RowsContext context;
  context.training = true;
  context.random = {.seed = 9, .step = 4};
  const Tensor whole = run_rows(*model, ids_BS, context).logits_BSV;
  expect_identical(run_rows(*model, ids_BS, context).logits_BSV.detach(), whole.detach());

  RowsContext last = context;  // the last row alone, as another rank would have it
  last.first_token = 12;
  expect_close(run_rows(*model, ids_BS.slice(0, 2), last).logits_BSV, whole.slice(0, 2), 1e-12);

  RowsContext other = context;
  other.random.step = 5;
  EXPECT_FALSE(run_rows(*model, ids_BS, other).logits_BSV.equal(whole));
  other.random = {.seed = 10, .step = 4};
  EXPECT_FALSE(run_rows(*model, ids_BS, other).logits_BSV.equal(whole));

  context.training = false;
  const auto plain = tiny::make(tiny::options());
  moe::test::copy_parameters(*model, *(plain->to(at::kDouble), plain));
  expect_identical(run_rows(*model, ids_BS, context).logits_BSV.detach(),
                   run_rows(*plain, ids_BS).logits_BSV.detach());
}

TEST(Decoder, EveryDropoutTakesPart) {
  const auto logits = [](const DecoderOptions& o) {
    RowsContext context;
    context.training = true;
    return run_rows(*tiny::make(o), tiny::ids(2, 6), context).logits_BSV.detach();
  };
  const Tensor plain = logits(tiny::options());
  for (const int which : {0, 1, 2}) {
    DecoderOptions o = tiny::options();
    if (which == 0) o.uniform.dropout = 0.2;
    if (which == 1) o.uniform.attention_dropout = 0.3;
    if (which == 2) o.uniform.moe.expert.options = tiny::with("dropout", 0.4);
    EXPECT_FALSE(logits(o).equal(plain)) << which;
  }
}

TEST(Decoder, OnlyEndStepMovesTheSelectionBias) {
  DecoderOptions o = tiny::options();
  o.uniform.moe.router = {.kind = "sigmoid", .options = tiny::with("bias_rate", 0.1)};
  const auto model = tiny::make(o);
  const auto bias = [&](int64_t layer) {
    return model->named_buffers()[concat("layers.", layer, ".moe.router.selection_bias")].clone();
  };
  RowsContext context;
  context.training = true;
  const RowsOutput out = run_rows(*model, tiny::ids(3, 8), context);
  (out.logits_BSV.sum() + out.balance_loss()).backward();
  for (const int64_t layer : {0, 1}) expect_identical(bias(layer), at::zeros({4}));

  model->end_step(
      {{at::tensor({1, 9, 5, 5}, at::kLong), 0}, {at::tensor({8, 2, 8, 2}, at::kLong), 0}});
  expect_close(bias(0), at::tensor({0.1, -0.1, 0.0, 0.0}), 1e-7);
  expect_close(bias(1), at::tensor({-0.1, 0.1, -0.1, 0.1}), 1e-7);
}

TEST(Decoder, RefusesARouterThatLooksAheadUnlessItMayDoSo) {
  DecoderOptions o = tiny::options();
  o.uniform.moe.router.kind = "expert_choice";
  const auto causal = tiny::make(o);
  EXPECT_ERROR(run_rows(*causal, tiny::ids(2, 4)), "look ahead");
  o.causal = false;
  const auto free = tiny::make(o);
  EXPECT_TRUE(run_rows(*free, tiny::ids(2, 4)).logits_BSV.isfinite().all().item<bool>());
}

TEST(Decoder, BidirectionalModelsSeeWhatComesLater) {
  const at::NoGradGuard no_grad;
  DecoderOptions o = tiny::options();
  o.causal = false;
  const auto model = tiny::make(o);
  Tensor ids_BS = tiny::ids(1, 6);
  const Tensor before = run_rows(*model, ids_BS).logits_BSV;
  ids_BS[0][5] = (ids_BS[0][5].item<int64_t>() + 1) % tiny::kVocabulary;
  EXPECT_FALSE(run_rows(*model, ids_BS).logits_BSV[0][0].equal(before[0][0]));
}

TEST(Decoder, RowsOfABatchDoNotMeet) {
  const at::NoGradGuard no_grad;
  const auto model = tiny::make(tiny::options());
  randomise(*model, 2, 0.4);
  const Tensor ids_BS = tiny::ids(4, 7);
  const Tensor together = run_rows(*model, ids_BS).logits_BSV;
  for (int64_t b = 0; b < 4; ++b)
    expect_close(run_rows(*model, ids_BS.slice(0, b, b + 1)).logits_BSV[0], together[b], 1e-12);
}

TEST(Decoder, NamesItsParametersAsCheckpointsKnowThem) {
  DecoderOptions o = tiny::options();
  o.uniform.layers = 1;
  o.uniform.moe.shared = Dense{.d_ff = 3, .gate = true};
  const auto parameters = tiny::make(o)->named_parameters();
  const std::vector<std::string> expected = {"embedding",
                                             "head",
                                             "layers.0.attention_norm.scale",
                                             "layers.0.attention.w_q",
                                             "layers.0.attention.w_k",
                                             "layers.0.attention.w_v",
                                             "layers.0.attention.w_o",
                                             "layers.0.ffn_norm.scale",
                                             "layers.0.moe.router.weight",
                                             "layers.0.moe.experts.w_in",
                                             "layers.0.moe.experts.w_out",
                                             "layers.0.moe.shared.w_in",
                                             "layers.0.moe.shared.w_out",
                                             "layers.0.moe.shared.w_gate",
                                             "norm.scale"};
  EXPECT_EQ(parameters.size(), expected.size());
  for (const std::string& name : expected) EXPECT_TRUE(parameters.contains(name)) << name;
  EXPECT_EQ(parameters["layers.0.moe.experts.w_in"].sizes(), (std::vector<int64_t>{4, 12, 8}));
}

TEST(Decoder, ScalesCapsAndShiftsItsLogits) {
  DecoderOptions o = tiny::options();
  o.head_bias = true, o.logit_scale = 0.5, o.logit_softcap = 1.5;
  const auto model = tiny::make(o);
  randomise(*model, 2, 0.8);
  const auto parameters = model->named_parameters();
  const Tensor hidden_MD = moe::test::normal({5, 8}, 3).set_requires_grad(true);
  const Tensor raw_MV = at::matmul(hidden_MD, parameters["head"].t()) + parameters["head_bias"];
  const Tensor expected_MV = at::tanh(raw_MV * 0.5 / 1.5) * 1.5;
  expect_close(model->head(hidden_MD), expected_MV, 1e-13);
  // The loss in chunks is that of whole logits, in value and gradients.
  const Tensor target_M = at::arange(5, at::kLong);
  const std::vector<Tensor> leaves = {hidden_MD, parameters["head"], parameters["head_bias"]};
  const Tensor whole = at::cross_entropy_loss(expected_MV, target_M, {}, at::Reduction::Sum);
  const layers::Head head = {[&](const Tensor& h_MD) { return model->head(h_MD); },
                             tiny::kVocabulary};
  const auto found =
      layers::cross_entropy(head, hidden_MD, target_M, {.logits_at_once = 2 * tiny::kVocabulary});
  expect_close(found.sum, whole, 1e-12);
  const auto expected = torch::autograd::grad({whole}, leaves);
  const auto got = torch::autograd::grad({found.sum}, leaves);
  for (size_t i = 0; i < leaves.size(); ++i) expect_close(got[i], expected[i], 1e-12);
}

TEST(Decoder, ScalesItsEmbeddingAndAddsLearnedPositions) {
  const at::NoGradGuard no_grad;
  DecoderOptions o = tiny::options();
  o.embedding_scale = 3, o.learned_positions = true, o.uniform.rope = "none";
  const auto model = tiny::make(o);
  randomise(*model, 2, 0.4);
  // The same by a table that is scaled, and with the positions of a sequence in its words.
  DecoderOptions plain = tiny::options();
  plain.uniform.rope = "none";
  const auto other = tiny::make(plain);
  other->to(at::kDouble);
  const auto theirs = model->named_parameters();
  for (auto& item : other->named_parameters()) item.value().copy_(theirs[item.key()]);
  const Tensor ids_BS = at::arange(9, at::kLong).view({1, 9});
  auto mine = other->named_parameters();
  mine["embedding"].mul_(3);
  mine["embedding"].slice(0, 0, 9).add_(theirs["positions"].slice(0, 0, 9));
  expect_close(run_rows(*model, ids_BS).logits_BSV, run_rows(*other, ids_BS).logits_BSV, 1e-12);
  EXPECT_EQ(theirs["positions"].sizes(), (std::vector<int64_t>{tiny::kContext, 8}));
}

TEST(UniformBlocks, DenseLayersAreAsWideAsTheActiveExpertsOfAMoELayer) {
  DecoderOptions o = tiny::options();
  o.uniform.layers = 4, o.uniform.moe.every = 2;
  EXPECT_EQ(o.uniform.dense_width(0, o.d_model), 2 * 6) << "two choices";
  o.uniform.moe.capacity.factor = 0.5;
  EXPECT_EQ(o.uniform.dense_width(0, o.d_model), 2 * 6) << "a limit changes no parameter";
  o.uniform.moe.capacity.factor = 0;
  o.uniform.moe.router.kind = "dense";
  EXPECT_EQ(o.uniform.dense_width(0, o.d_model), 4 * 6) << "all four experts are active";
  o.uniform.moe.router.kind = "expert_choice";
  o.uniform.moe.router.options.set("capacity_factor", 1.5);
  EXPECT_EQ(o.uniform.dense_width(0, o.d_model), 9);
  o.uniform.moe.shared = Dense{.d_ff = 5};
  EXPECT_EQ(o.uniform.dense_width(2, o.d_model), 9 + 5);
  o.uniform.d_ff = 7;
  EXPECT_EQ(o.uniform.dense_width(0, o.d_model), 7);
  o = tiny::options();
  o.uniform.layers = 3, o.uniform.moe.layers = {1}, o.uniform.moe.top_k_per_layer = {3, 2, 1};
  EXPECT_EQ(o.uniform.dense_width(0, o.d_model), 3 * 6) << "a dense layer's own number of choices";
  o.uniform.moe.num_experts = 0;
  EXPECT_EQ(o.uniform.dense_width(2, o.d_model), 6);
}

TEST(DecoderOptions, RefuseWhatNoModelCanBe) {
  const auto refuse = [](const std::function<void(DecoderOptions&)>& change) {
    DecoderOptions o = tiny::options();
    change(o);
    return moe::test::message_of([&] { tiny::make(o); });
  };
  using moe::test::contains;
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.layers = 0; }), "layers");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.layers = int64_t{1} << 30; }),
               "at most 65536");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.d_ff = -1; }), "d_ff' of at least 0");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.moe.expert.d_ff = -8; }),
               "d_ff' of at least 0");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.activation = "tanh"; }), "tanh");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.moe.top_k = 5; }),
               "num_experts=4] in layer 0");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.moe.layers = {2}; }),
               "[0, layers=2), got 2");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.moe.experts_per_layer = {4}; }),
               "one a layer");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.norm_position = "mid"; }), "norm_position");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.logit_softcap = -1; }), "logit_softcap");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.embedding_scale = std::nan(""); }),
               "embedding_scale");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.norm = "batch"; }), "rmsnorm");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.dropout = 1; }), "dropout");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.heads = 3; }), "multiple of heads");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.init.scheme = "he"; }), "scheme");
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.moe.router.kind = "nope"; }), "nope");
}

TEST(DecoderOptions, BesideBlocksSettingsThatNothingReadsAreRefused) {
  const auto refuse = [](const std::function<void(DecoderOptions&)>& change) {
    DecoderOptions o = tiny::options();
    o.blocks = o.block_specs();
    change(o);
    return moe::test::message_of([&] { tiny::make(o); });
  };
  using moe::test::contains;
  const char* const beside = "no settings of uniform blocks beside";
  EXPECT_EQ(refuse([](auto&) {}), "") << "they say the same as the blocks";
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.layers += 1; }), beside);
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.moe.num_experts += 1; }), beside);
  EXPECT_PRED2(contains, refuse([](auto& o) { o.uniform.attention_bias = true; }),
               ".attention_bias' = true");
  const auto outside_the_blocks = [](auto& o) {
    o.uniform = UniformBlocks();
    o.uniform.norm = "layernorm", o.uniform.dropout = 0.1;
  };
  EXPECT_EQ(refuse(outside_the_blocks), "") << "these are read";
  const auto like_a_twin = [](auto& o) { o.blocks[0].feed_forward = Dense{.d_ff = 12}; };
  EXPECT_EQ(refuse(like_a_twin), "") << "so does the dense twin of uniform blocks";
}

}  // namespace

}  // namespace moe::models::decoder_test
