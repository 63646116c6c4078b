// The vision architecture. N images, C channels, H height, W width, S tokens of an image, E
// experts.
#include <cmath>
#include <map>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <moe/models/architectures/vision.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/message_of.h"
#include "tests/support/modules.h"

namespace moe::models::vision_test {
namespace {

using test::expect_close;
using test::expect_identical;

/// Images of 2 channels and 4 x 6 pixels in 6 patches; two blocks, the second a mixture of 4
/// experts, 2 a token.
VisionOptions small() {
  VisionOptions o{.channels = 2, .height = 4, .width = 6, .patch = 2, .classes = 3, .d_model = 8};
  o.uniform.layers = 2;
  o.uniform.heads = 2;
  o.uniform.d_ff = 10;
  o.uniform.moe.num_experts = 4;
  o.uniform.moe.every = 2;
  o.uniform.moe.expert.d_ff = 6;
  return o;
}

/// In float64; large random numbers in every parameter, so that biases and scales matter too.
std::shared_ptr<Model> make(const VisionOptions& options, uint64_t seed = 3) {
  auto model = make_model(options, seed, {}, at::kCPU, at::kDouble);
  test::randomise(*model, seed, 0.4);
  return model;
}

Tensor images(int64_t count, const VisionOptions& o, uint64_t seed = 1) {
  return test::normal({count, o.channels, o.height, o.width}, seed);
}

ModelOutput run(Model& model, const Tensor& pixels_NCHW, const ForwardContext& context = {}) {
  return model.forward({.pixels_NCHW = pixels_NCHW}, context);
}

Tensor classes_of(Model& model, const Tensor& pixels_NCHW, const ForwardContext& context = {}) {
  return model.head(run(model, pixels_NCHW, context).hidden_TD);
}

TEST(Vision, PatchesHoldTheirPixels) {
  const int64_t N = 2, C = 3, H = 4, W = 6, P = 2;
  const Tensor pixels = test::normal({N, C, H, W}, 5);
  const Tensor patches = patches_of(pixels, P);
  ASSERT_EQ(patches.sizes(), (at::IntArrayRef{N * (H / P) * (W / P), C * P * P}));
  int64_t row = 0;
  for (int64_t n = 0; n < N; ++n)
    for (int64_t y = 0; y < H; y += P)
      for (int64_t x = 0; x < W; x += P, ++row) {
        const Tensor block = pixels[n].slice(1, y, y + P).slice(2, x, x + P);
        EXPECT_TRUE(patches[row].equal(block.flatten())) << row;
      }
}

TEST(Vision, GradientsAreThoseOfDifferences) {
  for (const char* pooling : {"mean", "class_token"}) {
    VisionOptions o = small();
    o.pooling = pooling;
    const auto model = make(o);
    std::vector<Tensor> inputs = {images(2, o)};
    for (const auto& parameter : parameters_of(*model)) inputs.push_back(parameter.tensor);
    test::expect_gradients(
        [&](const std::vector<Tensor>& given) {
          const ModelOutput out = run(*model, given[0]);
          return at::cat({model->head(out.hidden_TD).flatten(), out.balance_loss().view({1})});
        },
        inputs);
  }
}

TEST(Vision, PoolingReadsAllPatchesOrTheClassToken) {
  VisionOptions o = small();
  EXPECT_EQ(o.tokens(), 6);
  const Tensor pixels = images(3, o);
  const auto mean = make(o);
  const ModelOutput out = run(*mean, pixels);
  EXPECT_EQ(out.hidden_TD.sizes(), (at::IntArrayRef{3, 8}));
  EXPECT_EQ(mean->head(out.hidden_TD).sizes(), (at::IntArrayRef{3, 3}));
  EXPECT_EQ(out.layers[0].routing.tokens(), 3 * 6);

  o.pooling = "class_token";
  EXPECT_EQ(o.tokens(), 7);
  const auto token = make(o);
  const ModelOutput with_token = run(*token, pixels);
  EXPECT_EQ(with_token.hidden_TD.sizes(), (at::IntArrayRef{3, 8}));
  EXPECT_EQ(with_token.layers[0].routing.tokens(), 3 * 7);
}

TEST(Vision, TheFirstTokenSeesTheLastPatch) {
  const at::NoGradGuard no_grad;
  VisionOptions o = small();
  o.pooling = "class_token";
  const auto model = make(o);
  const Tensor pixels = images(1, o);
  const Tensor before = classes_of(*model, pixels);
  Tensor other = pixels.clone();
  other[0][0][3][5] += 1;
  EXPECT_FALSE(classes_of(*model, other).equal(before));
}

TEST(Vision, ImagesDoNotMeet) {
  const at::NoGradGuard no_grad;
  const VisionOptions o = small();
  const auto model = make(o);
  const Tensor pixels = images(4, o);
  const Tensor together = classes_of(*model, pixels);
  for (int64_t n = 0; n < 4; ++n)
    expect_close(classes_of(*model, pixels.slice(0, n, n + 1))[0], together[n], 1e-12);
  const Tensor order = at::empty({4}, at::kLong);
  for (int64_t n = 0; n < 4; ++n) order[n] = (n * 3 + 1) % 4;
  expect_close(classes_of(*model, pixels.index_select(0, order)), together.index_select(0, order),
               1e-12);
  EXPECT_EQ(classes_of(*model, pixels.slice(0, 0, 0)).sizes(), (at::IntArrayRef{0, 3}));
}

TEST(Vision, PositionsTellPatchesApart) {
  const at::NoGradGuard no_grad;
  const VisionOptions o = small();
  const auto model = make(o);
  const Tensor pixels = images(1, o);
  const Tensor swapped =
      at::cat({pixels.slice(3, 4, 6), pixels.slice(3, 2, 4), pixels.slice(3, 0, 2)}, 3);
  EXPECT_FALSE(classes_of(*model, swapped).allclose(classes_of(*model, pixels), 1e-3, 1e-3));
}

TEST(Vision, ReportsTheLayersThatRoute) {
  VisionOptions o = small();
  const auto second = make(o);
  const ModelOutput out = run(*second, images(5, o));
  ASSERT_EQ(out.layers.size(), 1u);
  EXPECT_EQ(out.layers[0].layer, 1);
  EXPECT_EQ(out.layers[0].balance.load_E.sum().item<double>(), 5 * 6 * 2);
  EXPECT_EQ(out.layers[0].balance.tokens.item<double>(), 5 * 6);
  EXPECT_GT(out.balance_loss().item<double>(), 0);
  EXPECT_EQ(second->blocks().size(), 2u);

  o.uniform.moe.num_experts = 0;
  EXPECT_TRUE(run(*make(o), images(5, o)).layers.empty());
}

TEST(Vision, EndStepMovesTheSelectionBiasOfItsOwnLayer) {
  VisionOptions o = small();
  o.uniform.moe.every = 1;
  Table settings;
  settings.set("bias_rate", 0.1);
  o.uniform.moe.router = {.kind = "sigmoid", .options = settings};
  const auto model = make(o);
  const auto counts = [](int64_t first) {
    Tensor counts_E = at::full({4}, 5, at::kLong);
    counts_E[first] = 11;
    return StepStatistics{counts_E, 0};
  };
  model->end_step({counts(0), counts(2)});
  const auto buffers = model->named_buffers();
  for (const auto& [layer, busy] : {std::pair{0, 0}, std::pair{1, 2}}) {
    const Tensor bias_E = buffers[concat("layers.", layer, ".moe.router.selection_bias")];
    for (int64_t e = 0; e < 4; ++e)
      EXPECT_NEAR(bias_E[e].item<double>(), e == busy ? -0.1 : 0.1, 1e-6) << layer << ' ' << e;
  }
  EXPECT_ERROR(model->end_step({counts(0)}), "statistics of 2 layers");
}

TEST(Vision, DropoutDependsOnSeedStepAndImageAlone) {
  const at::NoGradGuard no_grad;
  VisionOptions o = small();
  o.uniform.dropout = 0.2, o.uniform.attention_dropout = 0.2;
  const auto model = make(o);
  ForwardContext context;
  context.training = true;
  context.random = {.seed = 9, .step = 4};
  const Tensor pixels = images(4, o);
  const ModelInputs all = {.tokens = {.first_token = 8}, .pixels_NCHW = pixels};
  const Tensor whole = model->forward(all, context).hidden_TD;
  expect_identical(model->forward(all, context).hidden_TD, whole);
  const ModelInputs last = {.tokens = {.first_token = 10}, .pixels_NCHW = pixels.slice(0, 2)};
  expect_close(model->forward(last, context).hidden_TD, whole.slice(0, 2), 1e-12);
  ForwardContext other = context;
  other.random.step = 5;
  EXPECT_FALSE(model->forward(all, other).hidden_TD.equal(whole));
  context.training = false;
  EXPECT_FALSE(model->forward(all, context).hidden_TD.equal(whole));
}

TEST(Vision, ComputingAgainChangesNoGradient) {
  VisionOptions o = small();
  o.uniform.dropout = 0.1;
  const auto model = make(o);
  ForwardContext context;
  context.training = true;
  const auto gradients = [&](Recompute recompute) {
    context.recompute = recompute;
    model->zero_grad();
    const ModelOutput out = run(*model, images(3, o), context);
    (model->head(out.hidden_TD).square().sum() + out.balance_loss()).backward();
    return test::gradients_of(*model);
  };
  const auto kept = gradients(Recompute::kNone);
  for (const auto recompute : {Recompute::kMoE, Recompute::kBlocks})
    for (const auto& [name, gradient] : gradients(recompute))
      expect_identical(gradient, kept.at(name), name);
}

TEST(Vision, MadeWithoutMemoryItStartsTheSame) {
  const VisionOptions o = small();
  const auto unfilled = make_model(ModelSpec(o));
  for (const auto& parameter : parameters_of(*unfilled)) EXPECT_TRUE(parameter.tensor.is_meta());
  EXPECT_EQ(unfilled->traits().outputs, 3);
  materialise(*unfilled);
  unfilled->draw(7);
  const auto direct = make_model(ModelSpec(o), {.tensors = at::TensorOptions(at::kFloat)});
  direct->draw(7);
  const auto one = tensors_of(*unfilled), other = tensors_of(*direct);
  ASSERT_EQ(one.size(), other.size());
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].name, other[i].name);
    expect_identical(one[i].tensor, other[i].tensor, one[i].name);
  }
  const Tensor pixels = images(2, o).to(at::kFloat);
  expect_identical(classes_of(*unfilled, pixels).detach(), classes_of(*direct, pixels).detach());
}

TEST(Vision, SaysWhatItsParametersAre) {
  VisionOptions o = small();
  o.pooling = "class_token";
  const auto model = make_model(ModelSpec(o));
  const std::map<std::string, Role> expected = {
      {"patches", Role::kMatrix},      {"patches_bias", Role::kBias},
      {"positions", Role::kEmbedding}, {"class_token", Role::kEmbedding},
      {"head", Role::kHead},           {"head_bias", Role::kBias}};
  size_t found = 0;
  for (const auto& parameter : parameters_of(*model)) {
    const auto role = expected.find(parameter.name);
    if (role == expected.end()) continue;
    EXPECT_EQ(parameter.info.role, role->second) << parameter.name;
    ++found;
  }
  EXPECT_EQ(found, expected.size());
}

TEST(Vision, StartsSmallAndUnbiased) {
  VisionOptions o = small();
  o.d_model = 64;
  const auto model = make_model(ModelSpec(o), 3);
  const auto values = model->named_parameters();
  EXPECT_NEAR(values["positions"].std().item<double>(), 0.02, 0.004);
  EXPECT_NEAR(values["patches"].std().item<double>(), 1 / std::sqrt(8.0), 0.05);
  EXPECT_EQ(values["head_bias"].abs().sum().item<double>(), 0);
  const Tensor classes = classes_of(*model, images(50, o).to(at::kFloat));
  EXPECT_LT(classes.abs().max().item<double>(), 8);
}

TEST(Vision, WhatDoesNotFitIsRefused) {
  const VisionOptions o = small();
  const auto model = make(o);
  EXPECT_ERROR(model->forward({}, {}),
               "[models/vision] expected images of shape (N, C=2, H=4, W=6), got none");
  EXPECT_ERROR(run(*model, test::normal({2, 2, 4, 5}, 1)), "got Double [2, 2, 4, 5]");
  EXPECT_ERROR(run(*model, test::normal({2, 4, 6}, 1)), "got Double [2, 4, 6]");
  EXPECT_ERROR(run(*model, at::zeros({1, 2, 4, 6}, at::kLong)), "expected floating images");
  EXPECT_ERROR(
      model->forward(
          {.tokens = {.domains_T = at::zeros({2}, at::kLong)}, .pixels_NCHW = images(3, o)}, {}),
      "one domain for each of 3 images");
  EXPECT_ERROR(model->new_state(4, at::kFloat), "expected a model of text");
  GenerationState state;
  ForwardContext context;
  context.state = &state;
  EXPECT_ERROR(run(*model, images(1, o), context), "expected no state of generation");
}

TEST(Vision, OptionsThatDoNotFitAreRefused) {
  const auto refuses = [](auto change, const std::string& part) {
    VisionOptions o = small();
    change(o);
    EXPECT_ERROR(o.validate("model"), part);
  };
  refuses([](auto& o) { o.patch = 4; }, "'model.width' to be a multiple of patch=4, got 6");
  refuses([](auto& o) { o.height = 5; }, "'model.height' to be a multiple of patch=2, got 5");
  refuses([](auto& o) { o.pooling = "max"; }, "pooling");
  refuses([](auto& o) { o.classes = 0; }, "'model.classes' of at least 1");
  refuses([](auto& o) { o.uniform.heads = 3; }, "multiple of heads=3");
  ModelSpec spec = small();
  spec.options.set("pach", int64_t{2});
  UnknownKeys unknown("model");
  spec.find_unknown(unknown);
  EXPECT_ERROR(unknown.refuse(), "pach");
  EXPECT_EQ(ModelSpec(small()).architecture, "vision");
}

TEST(Vision, BlocksMayBeGivenOneByOne) {
  VisionOptions o = small();
  VisionOptions listed = o;
  listed.blocks = o.block_specs();
  const auto one = make_model(ModelSpec(o), 3), other = make_model(ModelSpec(listed), 3);
  const Tensor pixels = images(2, o).to(at::kFloat);
  expect_identical(classes_of(*other, pixels).detach(), classes_of(*one, pixels).detach());
  listed.uniform.heads = 1;
  EXPECT_ERROR(make_model(ModelSpec(listed), 3), "no settings of uniform blocks beside");
  listed.uniform = VisionOptions().uniform;
  make_model(ModelSpec(listed), 3);
}

}  // namespace
}  // namespace moe::models::vision_test
