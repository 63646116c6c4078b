// moe generate, eval and forward as processes, on a tiny checkpoint.
#include <cmath>
#include <fstream>

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/formats/safetensors.h>
#include <moe/generation/generate.h>
#include <moe/models/architectures/vision.h>
#include <moe/models/forward_pass.h>
#include <moe/models/save.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_checkpoint.h"

namespace moe::test {

namespace {

class ModelCommands : public ::testing::Test {
 protected:
  void SetUp() override { model_ = write_tiny_checkpoint(checkpoint()); }

  std::string checkpoint() const { return (folder_ / "step-000007").string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return (folder_ / name).string();
  }
  /// Runs a command that must succeed, on one thread.
  std::string output(std::vector<std::string> words, const std::string& input = "") const {
    words.insert(words.begin() + 1, {checkpoint(), "--threads", "1"});
    const auto result = run_program(words, input);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  }
  nlohmann::json json(const std::vector<std::string>& words, const std::string& input = "") const {
    return nlohmann::json::parse(output(words, input));
  }
  /// Runs `moe forward` on `tokens`, which must fail with status 1 and leave no file.
  void refuse_tokens(const std::string& tokens, const std::string& part) const {
    const std::string out = (folder_ / "refused.safetensors").string();
    const auto result =
        run_program({"forward", checkpoint(), "--tokens", write("in.json", tokens), "--out", out});
    EXPECT_EQ(result.status, 1);
    EXPECT_PRED2(contains, result.err, part);
    EXPECT_FALSE(std::filesystem::exists(out));
  }

  TemporaryFolder folder_;
  std::shared_ptr<models::Model> model_;
};

TEST_F(ModelCommands, GenerateGivesTheFieldsPromised) {
  const auto out = json({"generate", "--prompt", "To be", "--max-tokens", "6", "--temperature",
                         "0.8", "--seed", "3", "--json"});
  EXPECT_EQ(out.at("tokens").size(), 6u);
  EXPECT_EQ(out.at("finish_reason"), "length");
  EXPECT_GT(out.at("tokens_per_second").get<double>(), 0);
  models::LoadedModel model;
  model.model = model_;
  model.tokenizer = data::make_tokenizer("byte");
  const auto expected = generate(model, "To be", {.max_tokens = 6, .temperature = 0.8, .seed = 3});
  EXPECT_EQ(out.at("tokens").get<std::vector<int64_t>>(), expected.tokens);
  EXPECT_EQ(out.at("text"), expected.text);
}

TEST_F(ModelCommands, GenerateWritesTheTextAlone) {
  const std::vector<std::string> words = {"generate", "--max-tokens", "6", "--seed", "3"};
  auto as_json = words;
  as_json.push_back("--json");
  EXPECT_EQ(output(words, "To be"), json(as_json, "To be").at("text").get<std::string>());
}

TEST_F(ModelCommands, DiffTellsWhereTwoForwardPassesFirstDiffer) {
  const auto dump = [&](const std::string& name, const std::string& ids) {
    const std::string out = (folder_ / name).string();
    output({"forward", "--tokens", write("in.json", ids), "--out", out, "--routing", "--grads"});
    return out;
  };
  const std::string a = dump("a", R"({"input_ids": [[1, 2, 3, 4]]})"),
                    b = dump("b", R"({"input_ids": [[1, 2, 9, 4]]})");
  const auto same = run_program({"diff", a, a, "--json"});
  EXPECT_EQ(same.status, 0) << same.err;
  EXPECT_EQ(nlohmann::json::parse(same.out)["same"], true);
  const auto other = run_program({"diff", a, b, "--json"});
  EXPECT_EQ(other.status, 1);
  EXPECT_EQ(nlohmann::json::parse(other.out)["first"], "layers.1.router_logits");
  const auto text = run_program({"diff", a, b}).out;
  EXPECT_PRED2(contains, text, "first difference: layers.1.router_logits");
  EXPECT_PRED2(contains, text, "grad.");
}

TEST_F(ModelCommands, GenerateTakesAnEmptyPrompt) {
  const auto empty = json({"generate", "--prompt", "", "--max-tokens", "4", "--json"}, "not read");
  const auto newline = json({"generate", "--max-tokens", "4", "--json"}, "\n");
  EXPECT_EQ(empty.at("tokens"), newline.at("tokens"));
}

TEST_F(ModelCommands, GenerateRefusesOptionsOutOfRangeAsUsage) {
  const auto result =
      run_program({"generate", checkpoint(), "--prompt", "a", "--temperature", "-1"});
  EXPECT_EQ(result.status, 2);
  EXPECT_PRED2(contains, result.err, "expected temperature >= 0, got -1");
}

TEST_F(ModelCommands, EvalGivesTheFieldsPromised) {
  const std::string text(100, 'x');
  const auto out = json({"eval", "--data", write("a", text), write("b", text), "--json"});
  EXPECT_EQ(out.at("tokens"), 198);
  const double loss = out.at("loss").get<double>();
  EXPECT_NEAR(out.at("perplexity").get<double>(), std::exp(loss), 1e-6 * std::exp(loss));
  EXPECT_NEAR(out.at("bits_per_byte").get<double>(), loss / std::log(2.0), 1e-9);
  EXPECT_EQ(out.at("files").size(), 2u);
  EXPECT_EQ(out.at("step"), 7);
}

TEST_F(ModelCommands, UseTheCoresOfTheProcessUnlessTold) {
  const auto cores =
      nlohmann::json::parse(run_program({"bench", "dense", "--tokens", "8", "--d-model", "8",
                                         "--d-ff", "8", "--repeat", "1", "--json"})
                                .out);
  const auto words = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"eval", checkpoint(), "--data", write("a", "text"), "--json"});
    return nlohmann::json::parse(run_program(more).out);
  };
  EXPECT_EQ(words({}).at("threads"), cores.at("work").at("threads"));
  EXPECT_EQ(words({"--threads", "1"}).at("threads"), 1);
}

TEST_F(ModelCommands, EvalRefusesFilesWithoutText) {
  const std::string none = (folder_ / "none").string();
  for (const auto& path : {write("empty", ""), write("short", "a"), none}) {
    const auto result = run_program({"eval", checkpoint(), "--data", path});
    EXPECT_EQ(result.status, path == none ? 2 : 1);  // a path to nothing is wrong usage
    EXPECT_PRED2(contains, result.err, path);
  }
}

TEST_F(ModelCommands, EvalOfWeightsThatAreNoNumbersFails) {
  {
    const at::NoGradGuard no_grad;
    model_->parameters().front().fill_(std::nan(""));
  }
  write_tiny_checkpoint(folder_ / "broken", *model_);
  for (const bool as_json : {false, true}) {
    std::vector<std::string> words = {"eval", (folder_ / "broken").string(), "--data",
                                      write("text", "some text")};
    if (as_json) words.push_back("--json");
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 1);
    EXPECT_PRED2(contains, result.err, "expected a finite loss on '");
    EXPECT_FALSE(contains(result.out, "loss")) << result.out;
  }
}

TEST_F(ModelCommands, AnalyzeOfAModelWithoutARunSaysSo) {
  models::DecoderOptions options;
  options.d_model = 8;
  options.uniform.layers = options.uniform.heads = 1;
  models::LoadedModel other;
  other.model = models::make_model(models::ModelSpec(options), 1);
  other.config.set("model", write_fields(models::ModelSpec(options)));
  models::save_hugging_face(other, folder_ / "other");
  const auto refused = run_program({"analyze", (folder_ / "other").string()});
  EXPECT_EQ(refused.status, 2);
  EXPECT_PRED2(contains, refused.err, "found a model that another program trained. Name a run");
}

TEST_F(ModelCommands, ForwardWritesWhatTheModelComputes) {
  const std::string path = write(
      "in.json", R"({"input_ids": [[5, 6, 7], [8, 9, 0]], "attention_mask": [[1,1,1],[1,1,0]]})");
  const std::string out = (folder_ / "out.safetensors").string();
  output({"forward", "--tokens", path, "--out", out, "--routing", "--grads"});
  const auto file = formats::SafetensorsFile::open(out);
  std::ifstream text(path);
  const std::string json(std::istreambuf_iterator<char>(text), {});
  const auto expected =
      models::forward_pass(*model_, models::parse_token_rows(json, "in.json", 256),
                           {.routing = true, .gradients = true});
  EXPECT_EQ(file.names().size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    const auto found = file.tensor(name);
    ASSERT_EQ(found.scalar_type(), tensor.scalar_type()) << name;
    ASSERT_EQ(found.sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(at::allclose(found, tensor, 1e-4, 1e-6)) << name;
  }
}

TEST_F(ModelCommands, ForwardGivesTheTypesPromisedWhateverItComputesIn) {
  const std::string path = write("in.json", R"({"input_ids": [[5, 6, 7]]})");
  const std::string out = (folder_ / "out.safetensors").string();
  for (const char* dtype : {"float32", "bfloat16", "float64"}) {
    output({"forward", "--tokens", path, "--out", out, "--routing", "--dtype", dtype});
    const auto file = formats::SafetensorsFile::open(out);
    EXPECT_EQ(file.names().size(), 4u);
    for (const char* name : {"logits", "layers.1.router_logits", "layers.1.weights"})
      EXPECT_EQ(file.tensor(name).scalar_type(), at::kFloat) << name << ' ' << dtype;
    EXPECT_EQ(file.tensor("layers.1.experts").scalar_type(), at::kLong);
    EXPECT_EQ(file.tensor("layers.1.experts").sizes(), (std::vector<int64_t>{3, 2}));
  }
}

TEST_F(ModelCommands, EvalOfAModelOfImagesSaysSo) {
  models::VisionOptions options;
  options.d_model = 8;
  options.uniform.layers = options.uniform.heads = 1;
  models::LoadedModel images;
  images.model = models::make_model(models::ModelSpec(options), 1);
  images.config.set("model", write_fields(models::ModelSpec(options)));
  models::save_native(images, folder_ / "images");
  const auto refused =
      run_program({"eval", (folder_ / "images").string(), "--data", write("text", "some text")});
  EXPECT_EQ(refused.status, 1);
  EXPECT_PRED2(contains, refused.err, "[eval] expected a model of text, got one of images");
}

TEST_F(ModelCommands, ForwardRefusesBadTokenFilesAndLeavesNothing) {
  refuse_tokens("[[1]]", "expected '");
  refuse_tokens(R"({"input_ids": [[1, 256]]})", "at input_ids[0][1]");
  refuse_tokens(R"({"input_ids": [[1, 2], [3]]})", "at input_ids[1]");
  refuse_tokens(R"({"ids": [[1]]})", "\n  'ids'");
  refuse_tokens(R"({"input_ids": [[1]], "decoder_input_ids": [[1]]})", "'decoder_input_ids'");
  std::string long_row = "[0";
  for (int i = 0; i < 64; ++i) long_row += ", 0";
  refuse_tokens("{\"input_ids\": [" + long_row + "]]}", "context_length=64");
}

}  // namespace

}  // namespace moe::test
