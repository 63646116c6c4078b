// The experts of a model in another form. B batch, S sequence.
#include <fstream>
#include <tests/models/tiny.h>
#include <tests/support/compare.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>
#include <tests/support/temporary_folder.h>

#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>

#include <moe/experts/expert_options.h>
#include <moe/models/expert_forms.h>
#include <moe/models/save.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::models::expert_forms_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::run_rows;
namespace tiny = moe::test::tiny;

/// A tiny model whose numbers are all random, as moe convert has it.
LoadedModel loaded(DecoderOptions options, uint64_t seed = 1) {
  options.resolve();
  LoadedModel out;
  out.config.set("model", write_fields(ModelSpec(options)));
  out.model = make_model(out.spec());
  materialise(*out.model);
  moe::test::randomise(*out.model, seed, 0.3);
  out.model->eval();
  return out;
}

DecoderOptions with_experts(const ExpertSpec& spec) {
  auto options = tiny::options();
  options.uniform.moe.expert = spec;
  return options;
}

Tensor tensor_of(const Model& model, const std::string& name) {
  for (const auto& [own, tensor, info] : tensors_of(model))
    if (own == name) return tensor;
  ADD_FAILURE() << "no " << name;
  return {};
}

Tensor logits_of(const LoadedModel& model) {
  const at::NoGradGuard no_grad;
  return run_rows(*model.model, tiny::ids(2, 7)).logits_BSV;
}

TEST(LowRankConversion, AtFullRankComputesTheSame) {
  for (const ExpertSpec& expert :
       {ExpertSpec(GatedExpert{.d_ff = 6, .activation = "gelu", .bias = true}),
        ExpertSpec(FfnExpert{.d_ff = 6, .activation = "relu"})}) {
    const LoadedModel model = loaded(with_experts(expert));
    for (const bool factor_out : {true, false}) {
      // w_in of ffn is (6, 8), w_out (8, 6); of gated (12, 8), whose rank may be 8: 6 is cut.
      const auto low = to_low_rank(model, 6, factor_out);
      ASSERT_EQ(low.errors.size(), 2u);
      EXPECT_EQ(low.errors[1].experts, "layers.1.moe.experts");
      EXPECT_LT(low.errors[0].worst_out, 1e-12);
      if (expert.kind == "ffn") {
        EXPECT_LT(low.errors[0].worst_in, 1e-12);
        expect_close(logits_of(low.model), logits_of(model), 1e-10);
      }
    }
  }
}

TEST(LowRankConversion, CutsTheSmallestSingularValuesAndSaysWhatIsLost) {
  const LoadedModel model = loaded(with_experts(GatedExpert{.d_ff = 6}));
  const auto low = to_low_rank(model, 2);
  for (const auto& error : low.errors) {
    double worst = 0, sum = 0;
    for (int64_t e = 0; e < 4; ++e) {
      const Tensor w = tensor_of(*model.model, error.experts + ".w_in")[e];
      const Tensor s = std::get<1>(at::linalg_svd(w));
      const double lost =
          std::sqrt(s.slice(0, 2).square().sum().item<double>() / s.square().sum().item<double>());
      worst = std::max(worst, lost), sum += lost;
      const Tensor product = at::matmul(tensor_of(*low.model.model, error.experts + ".u_in")[e],
                                        tensor_of(*low.model.model, error.experts + ".v_in")[e]);
      EXPECT_NEAR(((w - product).norm() / w.norm()).item<double>(), lost, 1e-9);
    }
    EXPECT_NEAR(error.worst_in, worst, 1e-9);
    EXPECT_NEAR(error.mean_in, sum / 4, 1e-9);
    EXPECT_GT(error.mean_out, 0);
  }
  expect_identical(tensor_of(*low.model.model, "layers.0.moe.router.weight"),
                   tensor_of(*model.model, "layers.0.moe.router.weight"));
}

TEST(LowRankConversion, RefusesWhatItCannotDo) {
  const LoadedModel model = loaded(tiny::options());
  EXPECT_ERROR(to_low_rank(model, 0), "expected a rank of at least 1, got 0");
  EXPECT_ERROR(to_low_rank(model, 7), "expected rank in [1, 6]");
  EXPECT_ERROR(to_low_rank(loaded(with_experts({.kind = "advanced", .d_ff = 6})), 2),
               "expected a model with experts of the kind 'gated' or 'ffn', got none");
  EXPECT_ERROR(merge_adapters(model), "experts of the kind 'lora', got none");
  EXPECT_ERROR(save_adapters(model, "/nowhere"), "experts of the kind 'lora', got none");
}

TEST(Adapters, MergedExpertsComputeTheSame) {
  for (const bool gated : {true, false})
    for (const bool bias : {true, false}) {
      auto options =
          with_experts(LoraExpert{.d_ff = 6, .gated = gated, .rank = 2, .alpha = 3, .bias = bias});
      const LoadedModel model = loaded(options);
      const LoadedModel merged = merge_adapters(model);
      EXPECT_EQ(tensor_of(*merged.model, "layers.0.moe.experts.w_in").size(0), 4);
      expect_close(logits_of(merged), logits_of(model), 1e-11);
    }
}

TEST(Adapters, AreSavedAloneAndPutOntoTheirBase) {
  const moe::test::TemporaryFolder folder;
  const auto options = with_experts(LoraExpert{.d_ff = 6, .rank = 2, .bias = true});
  const LoadedModel trained = loaded(options);
  const std::string path = (folder / "adapters").string();
  save_adapters(trained, path);
  uintmax_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(path)) bytes += file.file_size();
  int64_t numbers = 0;
  for (const auto& parameter : tensors_of(*trained.model)) numbers += parameter.tensor.numel();
  EXPECT_LT(bytes, static_cast<uintmax_t>(numbers) * sizeof(double));

  // The base: what the run began with, whose adapters and routers are others.
  LoadedModel base = loaded(options);
  {
    const at::NoGradGuard no_grad;
    for (const auto& [name, tensor, info] : tensors_of(*base.model))
      if (name.find(".experts.") != std::string::npos && name.find("base_") == std::string::npos)
        Tensor(tensor).zero_();
  }
  EXPECT_FALSE(logits_of(base).equal(logits_of(trained)));
  load_adapters(base, path);
  expect_identical(logits_of(base), logits_of(trained));
}

TEST(Adapters, OfAnotherModelAreRefusedAndLeaveTheBaseAlone) {
  const moe::test::TemporaryFolder folder;
  const std::string path = (folder / "adapters").string();
  save_adapters(loaded(with_experts(LoraExpert{.d_ff = 6, .rank = 2})), path);
  LoadedModel base = loaded(with_experts(LoraExpert{.d_ff = 6, .rank = 3}));
  const Tensor before = logits_of(base);
  EXPECT_ERROR(load_adapters(base, path), "of the same configuration");
  expect_identical(logits_of(base), before);
  const std::string whole = (folder / "whole").string();
  save_native(base, whole);
  EXPECT_ERROR(load_adapters(base, whole), "expected a folder of adapters");
  LoadedModel same = loaded(with_experts(LoraExpert{.d_ff = 6, .rank = 2}), 7);
  const Tensor own = logits_of(same);
  for (const auto& file : std::filesystem::directory_iterator(path))
    if (file.path().filename().string().starts_with("adapters"))
      std::ofstream(file.path(), std::ios::app) << "x";
  EXPECT_ERROR(load_adapters(same, path), "");
  expect_identical(logits_of(same), own);
}

}  // namespace

}  // namespace moe::models::expert_forms_test
