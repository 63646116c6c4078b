// Layers that share the choice of keys of earlier ones, in a whole model. T tokens.
#include <map>
#include <tests/support/compare.h>
#include <tests/support/modules.h>
#include <tests/support/run_model.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/latent_attention.h>
#include <moe/models/generation_state.h>

namespace moe::models::shared_choices_test {
namespace {

using at::Tensor;
using moe::test::expect_close;
using moe::test::expect_identical;

/// Layers 0 and 3 choose; 1, 2 and 4 share.
std::shared_ptr<Model> make_sharing() {
  LatentAttention attention = {
      .heads = 2, .q_rank = 4, .kv_rank = 5, .nope_dim = 4, .rope_dim = 2, .value_dim = 4};
  DecoderOptions o;
  o.vocabulary = 17;
  o.context_length = 32;
  o.d_model = 8;
  for (const bool shared : {false, true, true, false, true}) {
    attention.indexer = {.heads = shared ? 0 : 2, .head_dim = 4, .top_k = 3, .shared = shared};
    layers::BlockSpec block;
    block.mixer = attention;
    block.feed_forward = Dense{.d_ff = 6};
    o.blocks.push_back(block);
  }
  auto out = moe::test::make_decoder(o, 1);
  moe::test::randomise(*out, 2, 0.4);
  return out;
}

ModelInputs inputs_of(const Tensor& ids_T, const Sequences& sequences) {
  ModelInputs out;
  out.tokens.ids_T = ids_T;
  out.tokens.sequences = sequences;
  return out;
}

Tensor ids(int64_t count) {
  return at::arange(count, at::kLong).square().mul(5).add(3).remainder(17);
}

TEST(SharedChoices, GoOnFromAState) {
  const at::NoGradGuard no_grad;
  const auto model = make_sharing();
  const Tensor ids_T = ids(20);
  const Tensor whole_TD = model->forward(inputs_of(ids_T, Sequences::equal(1, 20)), {}).hidden_TD;
  auto state = model->new_state(20, at::kDouble);
  state.join();
  ForwardContext context;
  context.state = &state;
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const int64_t end : {2, 5, 6, 7, 20}) {
    const auto inputs = inputs_of(ids_T.slice(0, begin, end), state.sequences({end - begin}));
    parts.push_back(model->forward(inputs, context).hidden_TD);
    begin = end;
  }
  expect_close(at::cat(parts), whole_TD, 1e-11);
}

TEST(SharedChoices, AreTheSameWhereBlocksAreComputedAgain) {
  std::map<std::string, Tensor> found[2];
  for (const bool again : {false, true}) {
    const auto model = make_sharing();
    ForwardContext context;
    context.training = true;
    context.recompute = again ? Recompute::kBlocks : Recompute::kNone;
    const auto inputs = inputs_of(ids(24), Sequences::of_lengths({9, 15}));
    model->forward(inputs, context).hidden_TD.square().sum().backward();
    for (const auto& item : model->named_parameters())
      if (item.value().grad().defined()) found[again ? 1 : 0][item.key()] = item.value().grad();
  }
  ASSERT_EQ(found[0].size(), found[1].size());
  EXPECT_TRUE(found[0].contains("layers.1.latent_attention.w_q_b"));
  EXPECT_FALSE(found[0].contains("layers.0.latent_attention.indexer.w_q"));
  for (const auto& [name, gradient] : found[0]) expect_identical(found[1][name], gradient, name);
}

}  // namespace
}  // namespace moe::models::shared_choices_test
