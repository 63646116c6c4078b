// Models of other programs under the commands that take a MODEL, and moe convert.
#include <algorithm>
#include <fstream>
#include <sys/resource.h>

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <moe/data/bpe/bpe_model.h>
#include <moe/data/tokenizers/sentencepiece_tokenizer.h>
#include <moe/formats/safetensors_shards.h>

#include "tests/support/message_of.h"
#include "tests/support/run_program.h"
#include "tests/support/tiny_bpe.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_sentencepiece.h"

namespace moe::test {

namespace {

const Path kCases = Path(MOE_SOURCE_DIR) / "tests" / "golden";

class Convert : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  /// A copy of a golden model.
  std::string copy_of(const std::string& name) const {
    std::filesystem::copy(kCases / name / "model", folder_ / name);
    return path(name);
  }
  std::string output(const std::vector<std::string>& words) const {
    const auto result = run_program(words);
    EXPECT_EQ(result.status, 0) << result.err;
    return result.out;
  }
  void refuse(const std::vector<std::string>& words, int status, const std::string& part) const {
    const auto result = run_program(words);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_PRED2(contains, result.err, part);
  }

  TemporaryFolder folder_;
};

TEST_F(Convert, ForwardGivesGradientsUnderTheirNames) {
  const std::string out = path("out.safetensors");
  output({"forward", (kCases / "mixtral_basic" / "model").string(), "--tokens",
          (kCases / "mixtral_basic" / "tokens.json").string(), "--out", out, "--routing", "--grads",
          "--dtype", "float32", "--threads", "1"});
  const auto got = formats::SafetensorsFile::open(out);
  const auto expected =
      formats::SafetensorsFile::open(kCases / "mixtral_basic" / "expected.safetensors");
  auto a = got.names(), b = expected.names();
  std::ranges::sort(a);
  std::ranges::sort(b);
  EXPECT_EQ(a, b);
  for (const auto& name : b) EXPECT_EQ(got.info(name).shape, expected.info(name).shape) << name;
}

TEST_F(Convert, GoesToNativeAndBackBitForBit) {
  const std::string source = copy_of("mixtral_window_bf16"), native = path("native"),
                    back = path("back");
  EXPECT_EQ(output({"convert", source, native}), native + "\n");
  output({"convert", native, back, "--family", "mixtral"});
  const auto was = formats::SafetensorsShards::open(source),
             is = formats::SafetensorsShards::open(back);
  ASSERT_EQ(was.names().size(), is.names().size());
  for (const auto& name : was.names()) {
    EXPECT_EQ(was.info(name).dtype, is.info(name).dtype) << name;
    EXPECT_TRUE(at::equal(was.tensor(name), is.tensor(name))) << name;
  }
  std::ifstream file(back + "/config.json");
  const auto config = nlohmann::json::parse(file);
  EXPECT_EQ(config["model_type"], "mixtral");
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  EXPECT_EQ(config["sliding_window"], 4);
  // As the program sees them, all three are one model.
  const auto forward = [&](const std::string& model) {
    output({"forward", model, "--tokens", (kCases / "mixtral_window_bf16" / "tokens.json").string(),
            "--out", path("o"), "--routing", "--threads", "1"});
    return read_file(real_files(), path("o"), 1 << 24);
  };
  const auto expected = forward(source);
  EXPECT_EQ(forward(native), expected);
  EXPECT_EQ(forward(back), expected);
}

TEST_F(Convert, ChangesTheTypeAndKeepsWhatBelongsToTheModel) {
  const std::string source = copy_of("llama_tied");
  std::ofstream(source + "/generation_config.json") << "{}";
  std::ofstream(source + "/README.md") << "not the model's";
  output({"convert", source, path("narrow"), "--to", "huggingface", "--dtype", "bfloat16"});
  const auto shards = formats::SafetensorsShards::open(path("narrow"));
  for (const auto& name : shards.names()) EXPECT_EQ(shards.info(name).dtype, at::kBFloat16);
  EXPECT_EQ(
      real_files().list(path("narrow")),
      (std::vector<std::string>{"config.json", "generation_config.json", "model.safetensors"}));
  std::ifstream file(path("narrow") + "/config.json");
  const auto config = nlohmann::json::parse(file);
  EXPECT_EQ(config["dtype"], "bfloat16");
  EXPECT_EQ(config["bos_token_id"], 1);
}

TEST_F(Convert, RefusesWhatIsNotThere) {
  const std::string source = copy_of("llama_tied");
  refuse({"convert", source, path("x"), "--quantize", "int8"}, 2,
         "expected no quantisation, got 'int8', which is not there yet");
  refuse({"convert", source, path("x"), "--to", "gguf"}, 2, "got 'gguf'");
  refuse({"convert", source, path("x"), "--to", "huggingface", "--family", "lama"}, 2,
         "Did you mean 'llama'?");
  refuse({"convert", source, path("x"), "--to", "huggingface", "--family", "mixtral"}, 2,
         "which the model is of");
  refuse({"convert", source, path("x"), "--family", "llama"}, 2, "beside --to huggingface only");
  refuse({"convert", source, source, "--to", "huggingface"}, 1, "expected a new or empty folder");
  refuse({"convert", path("nothing"), path("x")}, 2, "found none");
  EXPECT_FALSE(std::filesystem::exists(path("x")));
}

TEST_F(Convert, NothingIsWrittenOverWhatIsRead) {
  const std::string source = copy_of("llama_tied"), weights = source + "/model.safetensors",
                    tokens = path("tokens.json");
  std::filesystem::copy(kCases / "llama_tied" / "tokens.json", tokens);
  const auto before = read_file(real_files(), weights, 1 << 24);
  refuse({"forward", source, "--tokens", tokens, "--out", weights}, 2, "which is one of theirs");
  refuse({"forward", source, "--tokens", tokens, "--out", tokens}, 2, "which is one of theirs");
  EXPECT_EQ(read_file(real_files(), weights, 1 << 24), before);
  // A checkpoint of a run holds more than a model: what training goes on from.
  const Path checkpoint = folder_ / "run" / "checkpoints" / "step-000001";
  write_tiny_checkpoint(checkpoint);
  for (const std::string end : {"", "/"})
    refuse({"convert", source, checkpoint.string() + end}, 2, "one of its checkpoints");
  output({"inspect", checkpoint.string()});
}

TEST_F(Convert, SaysWhyNoFamilyFits) {
  write_tiny_checkpoint(folder_ / "ours");
  const Path config = folder_ / "ours" / "config.toml";
  std::string text = read_file(real_files(), config, 1 << 20);
  const std::string was = "causal = true";
  ASSERT_NE(text.find(was), text.npos);
  // Of the same length: the manifest knows it.
  std::ofstream(config) << text.replace(text.find(was), was.size(), "causal =false");
  refuse({"convert", path("ours"), path("x"), "--to", "huggingface", "--no-verify"}, 1,
         "\n  mixtral: [models/family]");
  EXPECT_FALSE(std::filesystem::exists(path("x")));
}

TEST_F(Convert, CommandsThatNeedATokenizerSaySo) {
  const std::string source = copy_of("llama_tied"), text = path("text");
  std::ofstream(text) << "some text";
  refuse({"generate", source, "--prompt", "a"}, 1, "expected a model with a tokenizer");
  refuse({"eval", source, "--data", text}, 1, "expected a model with a tokenizer");
  refuse({"tokenize", source}, 1, "expected tokenizer.json or tokenizer.model in");
  std::ofstream(source + "/tokenizer.json") << "{\"model\": {\"type\": \"Unigram\"}}";
  refuse({"generate", source, "--prompt", "a"}, 1, "tokenizer.json");
  output({"forward", source, "--tokens", (kCases / "llama_tied" / "tokens.json").string(), "--out",
          path("o")});
}

TEST_F(Convert, ModelsWithATokenizerReadAndWriteText) {
  // A model of our own of bytes and a few merges, as a Llama.
  models::DecoderOptions options = tiny_text_options();
  options.uniform.moe.num_experts = 0;
  options.vocabulary = 300;
  Table config;
  config.set("model", write_fields(models::ModelSpec(options)));
  const auto model = tiny_model(options);
  {
    checkpoint::Publication publication(folder_ / "ours");
    const std::string tokenizer = data::write_tokenizer_json(tiny_bpe(mixed_text(), 300));
    publication.add("config.toml",
                    [&](OutputFile& out) { out.write(bytes_of(config::write_toml(config))); });
    publication.add("tokenizer.json", [&](OutputFile& out) { out.write(bytes_of(tokenizer)); });
    checkpoint::add_tensors(publication, "model", tensors_of(*model));
    publication.finish({});
  }
  output({"convert", path("ours"), path("llama")});
  std::ofstream(path("text")) << std::string(200, 'x');
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"generate", "--prompt", "The cat", "--max-tokens", "5", "--seed",
                                 "1"},
        std::vector<std::string>{"eval", "--data", path("text")}}) {
    auto ours = words, theirs = words;
    ours.insert(ours.begin() + 1, {path("ours"), "--threads", "1"});
    theirs.insert(theirs.begin() + 1, {path("llama"), "--threads", "1"});
    EXPECT_EQ(output(ours), output(theirs)) << words[0];
  }
}

TEST_F(Convert, ASentencePieceTokenizerIsWrittenAsTheModelThatItWas) {
  using Kind = data::SentencePieceModel::Kind;
  for (const auto& [kind, name] :
       {std::pair{Kind::kBpe, "/tokenizer.model"}, std::pair{Kind::kUnigram, "/spiece.model"}}) {
    SCOPED_TRACE(name);
    const std::string bytes = test::tiny_sentencepiece(kind, true);
    const auto tokenizer = data::read_sentencepiece(bytes, "s", {});
    models::DecoderOptions options = tiny_text_options();
    options.uniform.moe.num_experts = 0;
    options.vocabulary = 400;
    Table config;
    config.set("model", write_fields(models::ModelSpec(options)));
    const bool bpe = kind == Kind::kBpe;
    const std::string ours = path(bpe ? "bpe" : "unigram"), theirs = ours + "_written";
    {
      checkpoint::Publication publication(ours);
      const std::string kept = tokenizer->tokenizer_json();
      publication.add("config.toml",
                      [&](OutputFile& out) { out.write(bytes_of(config::write_toml(config))); });
      publication.add("tokenizer.json", [&](OutputFile& out) { out.write(bytes_of(kept)); });
      checkpoint::add_tensors(publication, "model", tensors_of(*tiny_model(options)));
      publication.finish({});
    }
    output({"convert", ours, theirs});
    EXPECT_FALSE(std::filesystem::exists(theirs + "/tokenizer.json"));
    EXPECT_EQ(read_file(real_files(), theirs + name, 1 << 20), bytes);
    const std::string text = "\"the cat. 日本 c\"\n";
    EXPECT_EQ(run_program({"tokenize", theirs}, text).out,
              run_program({"tokenize", ours}, text).out);
  }
}

TEST_F(Convert, SaysThatTokensThatAreBytesComeWithoutATokenizer) {
  models::DecoderOptions options = tiny_text_options();
  options.uniform.moe.num_experts = 0;
  Table data, config;
  data.set("tokenizer", "byte");
  config.set("model", write_fields(models::ModelSpec(options)));
  config.set("data", data);
  {
    checkpoint::Publication publication(folder_ / "ours");
    publication.add("config.toml",
                    [&](OutputFile& out) { out.write(bytes_of(config::write_toml(config))); });
    checkpoint::add_tensors(publication, "model", tensors_of(*tiny_model(options)));
    publication.finish({});
  }
  const auto converted = run_program({"convert", path("ours"), path("llama")});
  EXPECT_EQ(converted.status, 0) << converted.err;
  EXPECT_PRED2(contains, converted.err,
               "warning: no tokenizer.json is written: its tokens are bytes.");
  EXPECT_FALSE(std::filesystem::exists(path("llama") + "/tokenizer.json"));
  EXPECT_EQ(run_program({"convert", path("ours"), path("native"), "--to", "native"}).err, "");
}

TEST_F(Convert, InspectReadsTheConfigurationAlone) {
  const std::string source = copy_of("mixtral_basic");
  std::filesystem::remove(source + "/model.safetensors");
  const auto found = nlohmann::json::parse(output({"inspect", source, "--json"}));
  EXPECT_EQ(found["family"], "mixtral");
  EXPECT_EQ(found["architecture"], "decoder");
  EXPECT_EQ(found["context_length"], 64);
  EXPECT_EQ(found["parameters"]["total"], 31200);
}

TEST_F(Convert, InspectOfATrillionParametersIsQuick) {
  // The widths of Switch-C (Fedus et al. 2021), as one stack of 30 blocks.
  std::ofstream(path("switch_c.toml"))
      << "[model]\nvocabulary = 32128\nd_model = 2080\nlayers = 30\nheads = 64\nhead_dim = 64\n"
         "context_length = 512\n[model.moe]\nnum_experts = 2048\ntop_k = 1\n"
         "router = {kind = \"switch\"}\nexpert = {kind = \"ffn\", d_ff = 6144}\n";
  // Processor time, the least of several: others use the machine too.
  const auto used = [] {
    rusage all = {};
    ::getrusage(RUSAGE_CHILDREN, &all);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    return seconds(all.ru_utime) + seconds(all.ru_stime);
  };
  const auto least = [&](const std::vector<std::string>& words) {
    double best = 1e9;
    for (int i = 0; i < 9; ++i) {
      const double before = used();
      output(words);
      best = std::min(best, used() - before);
    }
    return best;
  };
  const auto found = nlohmann::json::parse(output({"inspect", path("switch_c.toml"), "--json"}));
  EXPECT_GT(found["parameters"]["total"].get<int64_t>(), 1'570'000'000'000);
  const double seconds = least({"inspect", path("switch_c.toml")}) - least({"--version"});
  EXPECT_LE(seconds, 0.05);
}

TEST_F(Convert, MakesLowRankExpertsAndSaysHowFarTheyAreOff) {
  const std::string source = path("run"), low = path("low");
  write_tiny_checkpoint(source);
  const std::string said = output({"convert", source, low, "--low-rank", "2"});
  EXPECT_PRED2(contains, said, "layers.1.moe.experts  w_in 0.");
  EXPECT_PRED2(contains, said, "w_out 0.");
  std::ifstream written(Path(low) / "config.toml");
  const std::string config((std::istreambuf_iterator<char>(written)), {});
  EXPECT_PRED2(contains, config, "low_rank");
  EXPECT_EQ(output({"generate", low, "--prompt", "ab", "--max-tokens", "3", "--seed", "1"}),
            output({"generate", low, "--prompt", "ab", "--max-tokens", "3", "--seed", "1"}));
  refuse({"convert", source, path("other"), "--low-rank", "2", "--merge"}, 2, "expected one of");
  refuse({"convert", source, path("other"), "--low-rank", "20"}, 2, "expected rank in [1, 6]");
  refuse({"convert", source, path("other"), "--merge"}, 2, "experts of the kind 'lora'");
  refuse({"convert", source, path("other"), "--low-rank", "2", "--to", "huggingface"}, 2,
         "convert the result in a second step");
  EXPECT_FALSE(std::filesystem::exists(path("other"))) << "nothing half-written";
}

}  // namespace

}  // namespace moe::test
