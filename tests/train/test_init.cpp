// Runs that start from the weights of a model that is there already. No shape letters: parameters
// of any shape.
#include <map>

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/data/chat_template.h>
#include <moe/experts/kinds/gated.h>
#include <moe/formats/safetensors_shards.h>
#include <moe/models/companions.h>
#include <moe/models/hugging_face.h>
#include <moe/models/save.h>
#include <moe/models/take_weights.h>
#include <moe/parallel/threads.h>
#include <moe/parameters/list.h>

#include "tests/support/message_of.h"
#include "tests/support/tiny_bpe.h"
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

/// A run of text that says where it starts and no more, and its folder.
struct RunFromDirectory {
  TemporaryFolder folder;
  Path config = folder / "mine.toml", run = folder / "run", source = folder / "model";

  RunFromDirectory() {
    auto options = tiny_mixtral();
    options.vocabulary = 300;
    write_model(source, /*foreign=*/true, options);
    const auto put = [](const Path& file, const std::string& text) { std::ofstream(file) << text; };
    put(source / "tokenizer.json",
        data::write_tokenizer_json(tiny_bpe(mixed_text(), 300, {"<|endoftext|>", "<|im_end|>"})));
    put(source / "tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
    put(source / "chat_template.jinja", "[{{ messages[0].content }}]{{ eos_token }}");
    put(source / "generation_config.json", R"({"eos_token_id": [298, 299], "top_k": 3})");
    put(folder / "text", mixed_text());
    put(config, concat("[train]\ninit = \"", source.string(),
                       "\"\nsteps = 4\nbatch = 2\n[data]\nsequence = 8\n"
                       "domains = [{name = \"t\", path = \"",
                       (folder / "text").string(), "\"}]\n"));
  }
};

TEST(Init, ARunHoldsAllItNeedsToGoOnToWriteAndToBeExported) {
  const RunFromDirectory it;
  train::Run::from_toml(it.config, {}, it.run).start({.max_steps = 2});
  const auto was = models::companions_of(it.source);
  EXPECT_EQ(was.size(), 4u);
  std::filesystem::remove_all(it.source);
  // The configuration as it was written, and as the run wrote it down.
  const auto resumed = train::Run::from_toml(it.config, {}, it.run).resume({.max_steps = 3});
  EXPECT_EQ(resumed.record.step, 3);
  EXPECT_EQ(train::Run::from_toml(it.run / "config.toml", {}, it.run).resume().record.step, 4);
  const auto model = models::load(it.run);
  EXPECT_EQ(models::companions_of(model.folder), was);
  EXPECT_EQ(model.converted_from, "mixtral");
  EXPECT_EQ(model.tokenizer->end_of_text(), 1);
  EXPECT_EQ(data::read_chat_template(model.folder)->render({{"user", "Hi"}}), "[Hi]<|im_end|>");
  models::save_hugging_face(model, it.folder / "back", model.converted_from);
  for (const auto& [name, text] : was)
    if (name != models::kOriginFile) {
      EXPECT_EQ(read_file(real_files(), it.folder / "back" / name, 1 << 20), text) << name;
    }
  // Anew there is nothing to start from.
  EXPECT_ERROR(train::Run::from_toml(it.config, {}, it.folder / "new"),
               "relative ones start at the working directory");
}

TEST(Init, GroupsMayUseTheNamesOfTheDirectory) {
  const RunFromDirectory it;
  train::Run::from_toml(it.config,
                        {"train.optimizer.groups=[{match=\"*\", frozen=true}, "
                         "{match=\"model.layers.*.block_sparse_moe.experts.2.*\"}]"},
                        it.run)
      .start();
  const auto was = tensors_in(*models::load(it.source).model);
  for (const auto& [name, tensor] : tensors_in(*models::load(it.run).model)) {
    if (name.find("experts") == name.npos) {
      EXPECT_TRUE(at::equal(tensor, was.at(name))) << name;
      continue;
    }
    for (int64_t e = 0; e < 4; ++e)
      EXPECT_EQ(at::equal(tensor[e], was.at(name)[e]), e != 2) << name << ' ' << e;
  }
}

TEST(Init, RunsBeginInFoldersOfTheirOwn) {
  const RunFromDirectory it;
  const auto before = real_files().list(it.source);
  const auto message = message_of([&] { train::Run::from_toml(it.config, {}, it.source).start(); });
  EXPECT_PRED2(contains, message, "expected a new or empty folder, or that of a run");
  EXPECT_PRED2(contains, message, "\n  config.json");
  EXPECT_EQ(real_files().list(it.source), before);
  // A configuration and logs of a shell are in nobody's way.
  make_folders(real_files(), it.run);
  for (const char* name : {"mine.toml", "train.log", ".notes"}) std::ofstream(it.run / name) << "x";
  EXPECT_EQ(train::Run::from_toml(it.config, {}, it.run).start({.max_steps = 1}).record.step, 1);
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
      const auto model = models::make_model(models::ModelSpec(options), {.layout = group});
      models::take_weights(*model, folder / "model", at::kFloat, group);
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
