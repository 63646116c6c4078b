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
#include "tests/support/tiny_bpe.h"
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

TEST_F(ModelCommands, GenerateSaysWhereTheContextEndsAText) {
  const std::string prompt(60, 'a');  // of 64
  const std::vector<std::string> words = {"generate", checkpoint(), "--prompt", prompt};
  const auto full = run_program(words);
  EXPECT_EQ(full.status, 0) << full.err;
  EXPECT_PRED2(contains, full.err,
               "warning: the text ends after 4 tokens: prompt and text fill the model's context of "
               "64 tokens.");
  auto few = words;
  few.insert(few.end(), {"--max-tokens", "3"});
  EXPECT_FALSE(contains(run_program(few).err, "context"));
  const auto out = json({"generate", "--prompt", prompt, "--json"});
  EXPECT_EQ(out.at("finish_reason"), "length");
  EXPECT_EQ(out.at("tokens").size(), 4u);
}

TEST_F(ModelCommands, GenerateWritesAnAnswerByTheTemplateThatACheckpointCarries) {
  auto model = models::load(checkpoint());
  model.folder = folder_ / "beside";
  make_folders(real_files(), model.folder);
  write("beside/tokenizer.json", data::write_tokenizer_json(tiny_bpe(mixed_text(), 256)));
  model.tokenizer = data::read_tokenizer(model.folder / "tokenizer.json");
  write("beside/chat_template.jinja", "<{{ messages[0].content }}>");
  write("beside/generation_config.json", R"({"do_sample": false, "max_new_tokens": 5})");
  models::save_native(model, folder_ / "chat");
  const auto run = [](std::vector<std::string> words) {
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 0) << result.err;
    return result;
  };
  const std::string chat = (folder_ / "chat").string();
  const auto answer = run({"generate", chat, "--chat", "--prompt", "Hi"});
  EXPECT_EQ(answer.out, run({"generate", chat, "--prompt", "<Hi>"}).out);
  EXPECT_PRED2(contains, answer.err, "the answer is cut off after 5 tokens. Raise --max-tokens");
  EXPECT_PRED2(contains, run_program({"generate", checkpoint(), "--chat", "--prompt", "Hi"}).err,
               "a run takes that of train.init or of the folder of data.tokenizer");
}

TEST_F(ModelCommands, InspectPutsModelsBesideTheUsualDenseOnes) {
  std::ofstream(folder_ / "small.toml") << "[model]\nd_model = 16\nlayers = 2\nheads = 2\n";
  const std::string small = (folder_ / "small.toml").string();
  const auto found =
      nlohmann::json::parse(run_program({"inspect", small, "mixtral-8x7b", "--json"}).out);
  ASSERT_EQ(found.at("models").size(), 2u);
  std::vector<std::string> names;
  for (const auto& model : found.at("comparators")) {
    names.push_back(model.at("name"));
    EXPECT_GT(model.at("parameters").at("total").get<int64_t>(), 600'000'000) << names.back();
    EXPECT_GT(model.at("context_length").get<int64_t>(), 200) << names.back();
  }
  EXPECT_EQ(names, (std::vector<std::string>{"gpt-3-175b", "llama-2-70b", "t5-xxl", "vit-h-14"}));
  const auto table = run_program({"inspect", small, "mixtral-8x7b"}).out;
  for (const auto& name : names) EXPECT_PRED2(contains, table, "\n" + name + " ");
  EXPECT_PRED2(contains, table, " kFLOP");
  EXPECT_PRED2(contains, table, " GFLOP");
  EXPECT_FALSE(contains(table, " 0.0 ")) << table;
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

TEST_F(ModelCommands, TakeABudgetOfOneShareOrOneALayer) {
  // Layer 0 is dense; layer 1 gives a token 2 of 3 experts.
  const std::string text = write("a", std::string(100, 'x'));
  const auto loss = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"eval", "--data", text, "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return json(words).at("loss").get<double>();
  };
  EXPECT_EQ(loss({"--budget", "1"}), loss({}));
  EXPECT_NE(loss({"--budget", "0.5"}), loss({}));
  EXPECT_EQ(loss({"--budget", "1,0.5"}), loss({"--budget", "0.5"}));
  EXPECT_NEAR(loss({"--budget", "0.5"}), loss({"--set-moe", "top_k=1"}), 1e-6);
  EXPECT_EQ(json({"eval", "--data", text, "--json", "--budget", "1,0.5"}).at("budget"),
            (std::vector<double>{1, 0.5}));

  const auto drawn = [&](const std::string& budget) {
    return json({"generate", "--prompt", "To be", "--max-tokens", "20", "--seed", "3", "--json",
                 "--budget", budget})
        .at("tokens");
  };
  EXPECT_EQ(drawn("0.5"), drawn("1,0.5"));
  EXPECT_NE(drawn("0.5"), drawn("1"));

  const std::string out = (folder_ / "half.safetensors").string();
  output({"forward", "--tokens", write("in.json", R"({"input_ids": [[5, 6, 7]]})"), "--out", out,
          "--routing", "--budget", "0.5"});
  EXPECT_EQ(formats::SafetensorsFile::open(out).tensor("layers.1.experts").size(1), 1);
}

TEST_F(ModelCommands, RefuseABudgetThatDoesNotFit) {
  const std::string text = write("a", std::string(100, 'x'));
  const auto refusal = [&](const std::string& budget) {
    const auto result = run_program({"eval", checkpoint(), "--data", text, "--budget", budget});
    EXPECT_EQ(result.status, 2) << budget;
    return result.err;
  };
  for (const std::string none : {"half", "0.5,", "", "0.5;1", "0.5 1"})
    EXPECT_PRED2(contains, refusal(none), "expected a number, or one a layer with commas");
  for (const std::string share : {"0", "1.5", "-0.5", "nan"})
    EXPECT_PRED2(contains, refusal(share), "expected a budget in (0, 1], got ");
  EXPECT_PRED2(contains, refusal("1,1,1"),
               "expected one budget, or one for each of 2 layers, got 3");
  EXPECT_PRED2(contains, refusal("0.5,0.5"), "for layer 0, which does not route, got 0.5");
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
  models::save_hugging_face(other, folder_ / "other", "mixtral");
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
