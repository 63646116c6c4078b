// What `moe convert --to huggingface` writes, read by transformers itself, where the Python package
// is present. The interpreter is that of MOE_PYTHON, or python3. B batch, S sequence, V vocabulary.
#include <fstream>
#include <tests/support/python.h>
#include <tests/support/temporary_folder.h>
#include <tests/support/tiny_bpe.h>

#include <gtest/gtest.h>

#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/experts/kinds/gated.h>
#include <moe/formats/safetensors.h>
#include <moe/models/decoder_family.h>
#include <moe/models/forward_pass.h>
#include <moe/models/load.h>
#include <moe/models/save.h>

namespace moe::models::transformers_test {
namespace {

using test::TemporaryFolder;

const Path kScript = Path(MOE_SOURCE_DIR) / "tests" / "models" / "read_with_transformers.py";

/// A model of our own, drawn, with a tokenizer that has an end of text.
LoadedModel own_model(DecoderOptions options) {
  LoadedModel out;
  out.model = make_model(ModelSpec(options), /*seed=*/4);
  out.model->eval();
  out.config.set("model", write_fields(ModelSpec(options)));
  return out;
}

DecoderOptions tiny_mixture() {
  DecoderOptions out;
  out.vocabulary = 300;
  out.context_length = 32;
  out.d_model = 16;
  out.uniform.layers = 2;
  out.uniform.heads = 4;
  out.uniform.kv_heads = 2;
  out.uniform.moe.num_experts = 4;
  out.uniform.moe.router.kind = "topk";
  out.uniform.moe.expert = GatedExpert{.d_ff = 12};
  return out;
}

/// Writes `model` and what it computes beside it, and lets transformers do the same.
void expect_same_in_transformers(const LoadedModel& model, const std::string& family,
                                 const std::string& what, const std::string& chat = "") {
  SCOPED_TRACE(what);
  const TemporaryFolder folder;
  if (!chat.empty()) std::ofstream(folder / "chat.txt") << chat;
  save_hugging_face(model, folder / "model", family);
  const std::string ids = "{\"input_ids\": [[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 3]]}";
  std::ofstream(folder / "ids.json") << ids;
  const auto rows = parse_token_rows(ids, "ids", model.model->traits().vocabulary);
  formats::write_safetensors(real_files(), folder / "logits.safetensors",
                             forward_pass(*model.model, rows, {}));
  EXPECT_EQ(test::run_python(kScript, folder.path()), 0);
}

class Transformers : public testing::Test {
  void SetUp() override {
    if (!test::python_has("torch, transformers, safetensors"))
      GTEST_SKIP() << test::python() << " has no torch, transformers and safetensors";
  }
};

TEST_F(Transformers, LoadsWhatIsTrainedHere) {
  auto model = own_model(tiny_mixture());
  expect_same_in_transformers(model, "mixtral", "without a tokenizer");
  model.tokenizer = std::make_shared<data::BpeTokenizer>(
      test::tiny_bpe(test::mixed_text(), 300, {"<|endoftext|>"}), "test");
  expect_same_in_transformers(model, "mixtral", "with a tokenizer");
}

TEST_F(Transformers, LoadsWhatItWroteAndWeWriteAgain) {
  for (const char* name : {"llama_tied", "mixtral_basic", "mixtral_window_bf16"})
    expect_same_in_transformers(load(Path(MOE_SOURCE_DIR) / "tests" / "golden" / name / "model"),
                                "", name);
}

TEST_F(Transformers, LoadsDirectoriesThatWereCheckpointsOfOurs) {
  const TemporaryFolder folder;
  auto model = own_model(tiny_mixture());
  model.tokenizer = std::make_shared<data::BpeTokenizer>(
      test::tiny_bpe(test::mixed_text(), 300, {"<|endoftext|>", "<s>", "<|im_end|>"}), "test");
  save_hugging_face(model, folder / "source", "mixtral");
  const auto put = [&](const char* name, const std::string& text) {
    std::ofstream(folder / "source" / name) << text;
  };
  put("tokenizer_config.json",
      R"({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "<|im_end|>"})");
  put("chat_template.jinja",
      "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}"
      "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}");
  put("generation_config.json",
      R"({"bos_token_id": 1, "eos_token_id": [0, 2], "do_sample": true, "top_k": 4})");
  save_native(load(folder / "source"), folder / "native");
  expect_same_in_transformers(load(folder / "native"), "mixtral", "through a checkpoint",
                              "<s>user: Hello<|im_end|>assistant:");
}

const Path kCases = Path(MOE_SHARED_DIR) / "parity";

TEST_F(Transformers, LoadsOursAsFurtherFamilies) {
  if (!real_files().exists(kCases / "README.md")) GTEST_SKIP() << "no parity cases at " << kCases;
  for (const auto& [name, family] : {std::pair{"qwen3_moe_norm", "qwen3_moe"},
                                     {"deepseek_v3_basic", "deepseek_v3"},
                                     {"qwen2_moe_mixed_layers", "qwen2_moe"}}) {
    auto own = load(kCases / name / "model");
    own.family = "";
    own.names = nullptr;
    expect_same_in_transformers(own, family, name);
  }
}

TEST_F(Transformers, LoadsDirectoriesWrittenAgain) {
  if (!real_files().exists(kCases / "README.md")) GTEST_SKIP() << "no parity cases at " << kCases;
  for (const char* name : {"gpt_oss_mxfp4", "deepseek_v3_basic"})
    expect_same_in_transformers(load(kCases / name / "model"), "", name);
}

}  // namespace
}  // namespace moe::models::transformers_test
