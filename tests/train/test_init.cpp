// Runs that start from the weights of a model that is there already. No shape letters: parameters
// of any shape.
#include <map>

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/experts/kinds/gated.h>
#include <moe/formats/safetensors_shards.h>
#include <moe/models/hugging_face.h>
#include <moe/models/save.h>
#include <moe/models/take_weights.h>
#include <moe/parallel/threads.h>
#include <moe/parameters/list.h>

#include "tests/support/message_of.h"
#include "tests/train/tiny_run.h"

namespace moe::test {
namespace {

using Tensors = std::map<std::string, at::Tensor>;

/// A model that the family mixtral can describe.
models::DecoderOptions tiny_mixtral() {
  models::DecoderOptions out;
  out.context_length = 16;
  out.d_model = 16;
  out.uniform.layers = 2;
  out.uniform.heads = 2;
  out.uniform.moe.num_experts = 4;
  out.uniform.moe.router.kind = "topk";
  out.uniform.moe.expert = GatedExpert{.d_ff = 12};
  return out;
}

Tensors tensors_in(const models::Model& model) {
  Tensors out;
  for (const auto& [name, tensor, info] : tensors_of(model)) out[name] = tensor.detach();
  return out;
}

/// The model, as a directory of the family mixtral or as a checkpoint of our own.
models::LoadedModel write_model(const Path& folder, bool foreign,
                                const models::DecoderOptions& options = tiny_mixtral()) {
  models::LoadedModel out;
  out.model = models::make_model(models::ModelSpec(options), /*seed=*/9);
  out.config.set("model", write_fields(models::ModelSpec(options)));
  foreign ? models::save_hugging_face(out, folder, "mixtral") : models::save_native(out, folder);
  return out;
}

/// A run of two steps from `source`, of which groups freeze what is not a router.
train::RunOptions run_from(const Path& source, const Path& data) {
  auto run = tiny_run(data);
  run.model = tiny_mixtral();
  run.train.init = source.string();
  run.train.steps = 2;
  run.train.accumulation = 1;
  run.train.eval_every = 0;
  run.train.checkpoint_every = 0;
  run.train.optimizer.groups = {{.match = "*", .frozen = true}, {.match = "layers.*.moe.router"}};
  return run;
}

TEST(Init, TrainsOnFromTheWeightsAndOnlyWhatGroupsSay) {
  for (const bool foreign : {true, false}) {
    SCOPED_TRACE(foreign);
    const TemporaryFolder folder;
    const auto was = tensors_in(*write_model(folder / "model", foreign).model);
    const auto run = run_from(folder / "model", folder.path());
    train::Run(run, folder / "run").start();
    const auto is = tensors_in(*models::load(folder / "run").model);
    ASSERT_EQ(is.size(), was.size());
    int64_t moved = 0;
    for (const auto& [name, tensor] : is) {
      if (at::equal(tensor, was.at(name))) continue;
      EXPECT_NE(name.find("router"), name.npos) << name;
      ++moved;
    }
    EXPECT_EQ(moved, 2) << "the router of each layer";
    // The weights it came from are as they were.
    for (const auto& [name, tensor] : tensors_in(*models::load(folder / "model").model))
      EXPECT_TRUE(at::equal(tensor, was.at(name))) << name;
  }
}

TEST(Init, IsNotReadAgainOnResume) {
  const TemporaryFolder folder;
  write_model(folder / "model", /*foreign=*/true);
  auto run = run_from(folder / "model", folder.path());
  train::Run(run, folder / "run").start();
  std::filesystem::remove_all(folder / "model");
  run.train.steps = 3;
  EXPECT_EQ(train::Run(run, folder / "run").resume().record.step, 3);
  EXPECT_ERROR(train::Run(run, folder / "other").start(), (folder / "model").string());
}

TEST(Init, BringsModelAndTokenizer) {
  const TemporaryFolder folder;
  write_model(folder / "model", /*foreign=*/true);
  Table train, data, config;
  train.set("init", (folder / "model").string());
  config.set("train", train);
  config.set("data", data);
  // Without a tokenizer its ids would be taken for bytes.
  EXPECT_ERROR(train::with_model_of_init(config), "Name one as data.tokenizer");
  for (const char* name : {"spiece.model", "tokenizer.model", "tokenizer.json"}) {
    std::ofstream(folder / "model" / name) << "{}";
    const auto with_tokenizer = train::with_model_of_init(config);
    EXPECT_EQ(with_tokenizer.find("data")->as<Table>()->find("tokenizer")->text(),
              Value((folder / "model" / name).string()).text());
  }
  const auto full = train::with_model_of_init(config);
  EXPECT_EQ(full.find("model")->as<Table>()->find("d_model")->text(), "16");
  // What the configuration says itself stays.
  Table own = full;
  Table tokenizer;
  tokenizer.set("tokenizer", "byte");
  own.set("data", tokenizer);
  own.set("model", Table());
  const auto kept = train::with_model_of_init(own);
  EXPECT_TRUE(kept.find("model")->as<Table>()->empty());
  EXPECT_EQ(kept.find("data")->as<Table>()->find("tokenizer")->text(), "\"byte\"");
  EXPECT_EQ(train::with_model_of_init(Table()).size(), 0u);
  // Nothing is missing, so nothing is read: a run goes on without the folder it began from.
  std::filesystem::remove_all(folder / "model");
  EXPECT_EQ(train::with_model_of_init(own).size(), own.size());
  EXPECT_ERROR(train::with_model_of_init(config), (folder / "model").string());
}

TEST(Init, ListsTensorsThatDiffer) {
  for (const bool foreign : {true, false}) {
    const TemporaryFolder folder;
    write_model(folder / "model", foreign);
    auto run = run_from(folder / "model", folder.path());
    change_model(run, [](auto& model) {
      model.uniform.moe.num_experts = 5;
      model.uniform.qk_norm = true;
    });
    const auto message = message_of([&] { train::Run(run, folder / "run").start(); });
    EXPECT_TRUE(contains(message, "layers.1.moe.router.weight")) << message;
    EXPECT_TRUE(contains(message, "layers.0.attention.q_norm.scale")) << message;
    EXPECT_TRUE(contains(message, (folder / "model").string())) << message;
  }
}

TEST(Init, SaysWhatToDoAboutATokenizerOfMoreTokens) {
  const TemporaryFolder folder;
  auto small = tiny_mixtral();
  small.vocabulary = 100;
  write_model(folder / "model", /*foreign=*/true, small);
  auto run = run_from(folder / "model", folder.path());
  change_model(run, [](auto& model) { model.vocabulary = 100; });
  const auto message = message_of([&] { train::Run(run, folder / "run").start(); });
  EXPECT_TRUE(contains(message, "got 100, which the weights of train.init = '")) << message;
  EXPECT_TRUE(contains(message, "Leave data.tokenizer out to take theirs")) << message;
}

TEST(Init, GivesEachRankItsExperts) {
  for (const bool foreign : {true, false}) {
    const TemporaryFolder folder;
    const auto was = tensors_in(*write_model(folder / "model", foreign).model);
    auto options = tiny_mixtral();
    options.uniform.moe.dispatcher = "all_to_all";
    parallel::run_ranks(2, [&](std::shared_ptr<parallel::Communicator> group) {
      const auto model = models::make_model(models::ModelSpec(options), {.group = group});
      models::take_weights(*model, folder / "model", at::kFloat, *group);
      for (const auto& [name, tensor, info] : tensors_of(*model)) {
        const auto& whole = was.at(name);
        EXPECT_TRUE(at::equal(tensor, info.sharded ? whole.narrow(0, info.first_expert, 2) : whole))
            << name;
      }
    });
  }
}

}  // namespace
}  // namespace moe::test
