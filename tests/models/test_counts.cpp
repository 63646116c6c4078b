// What models cost, from walking them unfilled; and their dense twins.
#include <tests/models/tiny.h>
#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/experts/experts.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/counts.h>
#include <moe/models/family.h>
#include <moe/models/twin.h>
#include <moe/parameters/list.h>

namespace moe::models {
namespace {

namespace tiny = moe::test::tiny;

int64_t parameters_in(const DecoderOptions& options) {
  int64_t out = 0;
  for (const auto& parameter : tensors_of(*tiny::make(options)))
    if (parameter.info.role != Role::kState) out += numbers_in_use(parameter);
  return out;
}

/// The dense block that stands in layer `i` of the twin.
Dense twin_block(const DecoderOptions& options, size_t i) {
  return kind_options<Dense>(dense_twin(options).blocks.at(i).feed_forward);
}

std::vector<int64_t> twin_widths(const DecoderOptions& options) {
  std::vector<int64_t> out;
  const auto twin = dense_twin(options);
  for (const auto& block : twin.blocks) out.push_back(kind_options<Dense>(block.feed_forward).d_ff);
  return out;
}

TEST(Counts, AreThoseOfTheFilledModel) {
  for (const auto& [name, options] : tiny::variants()) {
    SCOPED_TRACE(name);
    const ModelCounts counts = count(options);
    EXPECT_EQ(counts.total, parameters_in(options));
    const int64_t table = options.vocabulary * options.d_model;
    const int64_t positions =
        options.learned_positions ? options.context_length * options.d_model : 0;
    EXPECT_EQ(counts.active_without_embeddings,
              counts.active - table * (options.tied_embeddings ? 1 : 2) - positions);
    EXPECT_EQ(counts.active_without_input_embedding, counts.active_without_embeddings + table);
  }
}

/// One block of four gated experts, two a token, whose parts meet by `wiring`.
DecoderOptions wired(const std::string& wiring) {
  layers::MoELayerOptions mixture;
  mixture.num_experts = 4;
  mixture.expert = {.kind = "gated", .d_ff = 6};
  layers::BlockSpec block;
  block.mixer = Attention{.heads = 2};
  block.feed_forward = mixture;
  block.wiring = wiring;
  if (wiring != "sequential" && wiring != "parallel") block.dense = Dense{.d_ff = 5};
  DecoderOptions o;
  o.vocabulary = 11, o.context_length = 12, o.d_model = 8;
  o.blocks = {block};
  return o;
}

TEST(Counts, WalkEveryPartOfABlock) {
  const int64_t attention = 4 * 8 * 8, dense = 3 * 8 * 5, norm = 8;
  const ModelCounts plain = count(wired("sequential")), parallel = count(wired("parallel")),
                    beside = count(wired("dense_beside")), shortcut = count(wired("shortcut"));
  EXPECT_EQ(parallel.total, plain.total - norm);
  EXPECT_EQ(beside.total, plain.total + dense + norm);
  EXPECT_EQ(shortcut.total, plain.total + attention + 2 * (dense + norm));
  EXPECT_EQ(shortcut.total - shortcut.active, plain.total - plain.active);
  EXPECT_EQ(beside.state_numbers, plain.state_numbers);
  EXPECT_EQ(shortcut.state_numbers, 2 * plain.state_numbers);
  const auto over_keys = [](const ModelCounts& c) {
    return c.flops_per_token - 2 * c.active_without_input_embedding;
  };
  EXPECT_EQ(over_keys(shortcut), 2 * over_keys(plain));
}

TEST(Counts, ATwinKeepsWhatStandsBesideTheExperts) {
  for (const std::string wiring : {"parallel", "dense_beside", "shortcut"}) {
    SCOPED_TRACE(wiring);
    const auto twin = dense_twin(wired(wiring));
    EXPECT_EQ(twin.blocks.at(0).wiring, wiring);
    EXPECT_EQ(kind_options<Dense>(twin.blocks.at(0).feed_forward).d_ff, 2 * 6);
    const int64_t experts = 4 * 3 * 8 * 6, router = 4 * 8;
    EXPECT_EQ(count(twin).total, count(wired(wiring)).total - experts - router + 3 * 8 * 12);
  }
}

TEST(Counts, IdentityExpertsCostNothing) {
  DecoderOptions o = wired("sequential");
  auto mixture = kind_options<layers::MoELayerOptions>(o.blocks[0].feed_forward);
  mixture.identity_experts = 4;
  o.blocks[0].feed_forward = mixture;
  const int64_t expert = 3 * 8 * 6;
  EXPECT_EQ(count(o).total, count(wired("sequential")).total + 4 * 8) << "columns of the router";
  EXPECT_EQ(count(o).total - count(o).active, 3 * expert) << "one real expert a token on average";
}

TEST(Counts, LeaveOutExpertsThatATokenDoesNotChoose) {
  auto o = tiny::options();  // 2 layers of 4 experts of 3 · 8 · 6 numbers, 2 a token
  const int64_t expert = 3 * 8 * 6;
  EXPECT_EQ(count(o).total - count(o).active, 2 * 2 * expert);
  o.uniform.moe.capacity.factor = 1.25;
  EXPECT_EQ(count(o).total - count(o).active, 2 * 2 * expert);
  o.uniform.moe.capacity.factor = 0.5;  // one of two choices finds room
  EXPECT_EQ(count(o).total - count(o).active, 2 * 3 * expert);
  o.uniform.moe.capacity = {};
  o.uniform.moe.router.kind = "dense";
  EXPECT_EQ(count(o).active, count(o).total) << "all experts work for every token";
  o.uniform.moe.expert.kind = "no_such_kind";
  EXPECT_ERROR(count(o), "expected a registered expert, got 'no_such_kind'");
}

TEST(Counts, KnowEveryKindOfExpert) {
  for (const std::string& kind : experts::expert_kinds().names()) {
    auto o = tiny::options();
    o.uniform.moe.expert.kind = kind;
    o.uniform.moe.experts_per_layer = {2, 4};
    EXPECT_EQ(count(o).total, parameters_in(o)) << kind;
    EXPECT_LT(count(o).active, count(o).total) << kind;
  }
}

TEST(Counts, ABaseThatAllExpertsShareWorksForEveryToken) {
  auto o = tiny::options();
  o.uniform.moe.expert = {.kind = "lora", .d_ff = 6, .options = tiny::with("rank", 2)};
  const int64_t adapter = 2 * (8 + 12 + 6 + 8);
  EXPECT_EQ(count(o).total - count(o).active, 2 * 2 * adapter);
}

TEST(Counts, AddWhatAttentionCostsAndKeeps) {
  auto o = tiny::options();
  o.uniform.kv_heads = 1;
  const ModelCounts counts = count(o);
  EXPECT_EQ(counts.flops_per_token,
            2 * counts.active_without_input_embedding + 2 * 4 * 8 * o.context_length);
  EXPECT_EQ(counts.state_numbers, 2 * 2 * 4 * o.context_length);
}

TEST(Counts, RefuseWhatCannotBeCounted) {
  auto o = tiny::options();
  o.uniform.layers = 1024;
  o.uniform.moe.num_experts = 1 << 20;
  o.uniform.moe.expert.d_ff = 1 << 25;
  o.d_model = 1 << 10;
  EXPECT_ERROR(count(o), "expected a model of fewer than 2^57 parameters");
}

TEST(DenseTwin, IsAsWideAsWhatWorksForAToken) {
  auto o = tiny::options();
  EXPECT_EQ(twin_widths(o), (std::vector<int64_t>{12, 12}));
  o.uniform.moe.capacity.factor = 0.5;
  EXPECT_EQ(twin_widths(o), (std::vector<int64_t>{6, 6}));
  o.uniform.moe.capacity = {};
  o.uniform.moe.shared = Dense{.d_ff = 5, .gate = true};
  EXPECT_EQ(twin_widths(o), (std::vector<int64_t>{17, 17}));
  o.uniform.moe.shared = Dense{};
  o.uniform.moe.router.kind = "dense";
  EXPECT_EQ(twin_widths(o), (std::vector<int64_t>{24, 24}));
  o.uniform.moe.router.kind = "expert_choice";
  o.uniform.moe.router.options.set("capacity_factor", 1.5);
  EXPECT_EQ(twin_widths(o), (std::vector<int64_t>{9, 9}));
}

TEST(DenseTwin, TakesTheExpertsFormActivationAndBiases) {
  auto o = tiny::options();
  EXPECT_EQ(twin_block(o, 0).form, "gated");
  EXPECT_EQ(twin_block(o, 0).activation, "silu");
  EXPECT_FALSE(twin_block(o, 0).bias);
  o.uniform.moe.expert = {.kind = "gated", .d_ff = 6, .options = tiny::with("bias", true)};
  EXPECT_TRUE(twin_block(o, 0).bias);
  o.uniform.moe.expert = {.kind = "advanced", .d_ff = 6, .options = tiny::with("dropout", 0.0)};
  EXPECT_EQ(twin_widths(o), (std::vector<int64_t>{12, 12}));
  EXPECT_EQ(twin_block(o, 0).form, "ffn");
  EXPECT_TRUE(twin_block(o, 0).bias) << "the kind's default";
  o.uniform.moe.expert.options = {};
  EXPECT_ERROR(dense_twin(o), "experts without dropout");
  // Two linear maps of 8 x 8 a token: half as many hidden units, which have two matrices.
  o.uniform.moe.expert = {.kind = "basic"};
  EXPECT_EQ(twin_widths(o), (std::vector<int64_t>{8, 8}));
  EXPECT_EQ(twin_block(o, 0).activation, "gelu");
}

TEST(DenseTwin, CostsTheSameButForTheRouter) {
  for (const auto& [name, options] : tiny::variants()) {
    SCOPED_TRACE(name);
    const auto twin = dense_twin(options);
    const auto model = make_model(options), dense = make_model(twin);
    ASSERT_EQ(model->blocks().size(), dense->blocks().size());
    for (size_t i = 0; i < model->blocks().size(); ++i) {
      const auto& block = *model->blocks()[i];
      EXPECT_FALSE(dense->blocks()[i]->routes());
      int64_t flops = block.feed_forward().flops_per_token();
      for (const auto& parameter : parameters_of(block.feed_forward()))
        if (parameter.info.part == Part::kRouter && parameter.tensor.dim() == 2)
          flops -= 2 * parameter.tensor.numel();
      const int64_t off = std::abs(flops - dense->blocks()[i]->feed_forward().flops_per_token());
      EXPECT_LE(off, 2 * 3 * options.d_model / 2)
          << "half a hidden unit, as widths are whole numbers";
      if (!block.routes()) {
        EXPECT_EQ(off, 0) << "dense blocks stay";
      }
    }
    EXPECT_EQ(count(dense_twin(twin)).total, count(twin).total) << "a dense model is its own twin";
  }
}

}  // namespace
}  // namespace moe::models
