// Families of published models: another program's numbers, and both ways between its directories
// and our models. T tokens, V vocabulary.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <tests/support/message_of.h>
#include <tests/support/temporary_folder.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/formats/json_table.h>
#include <moe/models/counts.h>
#include <moe/models/decoder_family.h>
#include <moe/models/load.h>
#include <moe/models/save.h>
#include <moe/parameters/list.h>

#include "tests/models/parity.h"

namespace moe::models {
namespace {

using test::TemporaryFolder;

const Path kGolden = Path(MOE_SOURCE_DIR) / "tests" / "golden";
const std::vector<std::string> kGoldenCases = {"llama_tied", "mixtral_basic",
                                               "mixtral_window_bf16"};

HfConfig config_of(const Table& settings) {
  return {settings, "'config.json'"};
}

/// config.json of a case with one key changed.
Table changed(const std::string& name, const std::string& key, Value value) {
  Table out = HfConfig::read(kGolden / name / "model").settings();
  out.set(key, std::move(value));
  return out;
}

std::string refusal(const Table& settings) {
  return test::message_of([&] { family_of(config_of(settings))->options(config_of(settings)); });
}

/// Bit for bit: every tensor of both directories, by name.
void expect_same_tensors(const Path& a, const Path& b) {
  const auto left = formats::SafetensorsShards::open(a),
             right = formats::SafetensorsShards::open(b);
  ASSERT_EQ(left.names().size(), right.names().size());
  for (const auto& name : left.names()) {
    const at::Tensor x = left.tensor(name), y = right.tensor(name);
    ASSERT_EQ(x.scalar_type(), y.scalar_type()) << name;
    ASSERT_EQ(x.sizes(), y.sizes()) << name;
    EXPECT_EQ(std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()), 0) << name;
  }
}

TEST(Families, GiveTheNumbersOfAnotherProgram) {
  for (const auto& name : kGoldenCases) test::expect_parity(kGolden / name);
}

TEST(Families, GiveTheNumbersOfTheSharedCases) {
  const Path shared = Path(MOE_SHARED_DIR) / "parity";
  if (!real_files().exists(shared / "README.md")) GTEST_SKIP() << "no parity cases at " << shared;
  for (const char* name : {"mixtral_basic", "mixtral_sharded_bf16"})
    test::expect_parity(shared / name);
}

TEST(Families, ComeBackBitForBit) {
  for (const auto& name : kGoldenCases) {
    SCOPED_TRACE(name);
    const Path source = kGolden / name / "model";
    const auto type = stored_type(source);
    EXPECT_EQ(type, name == "mixtral_window_bf16" ? at::kBFloat16 : at::kFloat);
    const TemporaryFolder folder;
    save_hugging_face(load(source, type), folder / "copy");
    expect_same_tensors(source, folder / "copy");
    save_native(load(source, type), folder / "native");
    EXPECT_EQ(stored_type(folder / "native"), type);
    const auto native = load(folder / "native", type);
    EXPECT_EQ(native.family, "");
    save_hugging_face(native, folder / "back/", name.substr(0, name.find('_')));
    expect_same_tensors(source, folder / "back");
    const auto was = read_hugging_face(source), is = read_hugging_face(folder / "back");
    EXPECT_EQ(was.family, is.family);
    EXPECT_EQ(was.spec.options.size(), is.spec.options.size());
    EXPECT_TRUE(config::differences(was.spec.options, is.spec.options).empty());
  }
}

TEST(Families, SplitIntoShardsThatReadBack) {
  const TemporaryFolder folder;
  const Path source = kGolden / "mixtral_basic" / "model";
  const auto loaded = load_hugging_face(source);
  const auto map = tensor_map(loaded.family, loaded.spec, *loaded.model);
  write_hugging_face(real_files(), folder / "split", *loaded.model, map, loaded.config.settings(),
                     {}, 40'000);
  EXPECT_TRUE(real_files().exists(folder / "split" / formats::kShardIndex));
  expect_same_tensors(source, folder / "split");
  EXPECT_ERROR(write_hugging_face(real_files(), folder / "split", *loaded.model, map, {}),
               "expected a new or empty folder");
}

TEST(Families, ViewTheFileWhereTheyCanAndNeverChangeIt) {
  const TemporaryFolder folder;
  std::filesystem::copy(kGolden / "llama_tied" / "model", folder / "model");
  const auto before = read_file(real_files(), folder / "model" / formats::kSingleShard, 1 << 20);
  {
    const at::NoGradGuard no_grad;
    const auto loaded = load(folder / "model");
    for (auto& parameter : loaded.model->parameters()) {
      EXPECT_TRUE(parameter.requires_grad());
      parameter.add_(1);
    }
  }
  EXPECT_EQ(read_file(real_files(), folder / "model" / formats::kSingleShard, 1 << 20), before);
}

TEST(Families, WidenAndNarrowOnTheWay) {
  const auto wide = load(kGolden / "mixtral_window_bf16" / "model", at::kDouble);
  const auto narrow = load(kGolden / "mixtral_basic" / "model", at::kBFloat16);
  for (const auto& parameter : wide.model->parameters())
    EXPECT_EQ(parameter.scalar_type(), at::kDouble);
  const auto plain = load(kGolden / "mixtral_basic" / "model");
  const auto a = narrow.model->named_parameters(), b = plain.model->named_parameters();
  for (const auto& item : a)
    EXPECT_TRUE(at::equal(item.value(), b[item.key()].to(at::kBFloat16))) << item.key();
}

TEST(Families, RefuseKeysAndValuesByName) {
  EXPECT_EQ(refusal(changed("mixtral_basic", "sliding_window", 5)), "");
  const auto unknown = refusal(changed("mixtral_basic", "residual_multiplier", 0.22));
  EXPECT_TRUE(test::contains(unknown, "\n  'residual_multiplier' = 0.22")) << unknown;
  EXPECT_TRUE(
      test::contains(refusal(changed("mixtral_basic", "hidden_act", "mish")), "at 'hidden_act'"));
  EXPECT_TRUE(test::contains(refusal(changed("mixtral_basic", "num_hidden_layers", 100000)),
                             "at most 4096 blocks"));
  EXPECT_TRUE(test::contains(refusal(changed("mixtral_basic", "num_local_experts", Value())),
                             "at 'num_local_experts'"));
  const auto five_of_four = config_of(changed("mixtral_basic", "num_experts_per_tok", 5));
  EXPECT_ERROR(make_model(family_of(five_of_four)->options(five_of_four)), "got 5");
  EXPECT_TRUE(test::contains(refusal(changed("llama_tied", "model_type", "lama")),
                             "Did you mean 'llama'?"));
  Table scaling;
  scaling.set("rope_type", "ntk");
  EXPECT_TRUE(test::contains(refusal(changed("llama_tied", "rope_parameters", scaling)),
                             "rope_parameters.rope_type"));
}

TEST(Families, RefuseEveryKeyOfAnotherType) {
  const std::vector<std::string> no_matter = {
      "architectures",       "attention_dropout", "bos_token_id",         "dtype",
      "eos_token_id",        "initializer_range", "output_router_logits", "pretraining_tp",
      "router_jitter_noise", "torch_dtype",       "transformers_version", "use_cache"};
  for (const auto& name : kGoldenCases) {
    const Table settings = HfConfig::read(kGolden / name / "model").settings();
    for (const auto& [key, value] : settings) {
      if (value.empty() || key == "model_type" || std::ranges::count(no_matter, key) > 0) continue;
      const auto message = refusal(changed(name, key, Value(Array{Value(Table())})));
      EXPECT_TRUE(test::contains(message, concat('\'', key)))
          << name << ": " << key << ": " << message;
    }
  }
}

TEST(Families, RefuseWeightsThatDoNotFit) {
  const TemporaryFolder folder;
  std::filesystem::copy(kGolden / "mixtral_basic" / "model", folder / "model");
  const auto write = [&](const Table& config) {
    std::ofstream(folder / "model" / kHfConfigName) << formats::format_json_table(config);
    return test::message_of([&] { load(folder / "model"); });
  };
  EXPECT_EQ(write(changed("mixtral_basic", "sliding_window", 8)), "");
  const auto more = write(changed("mixtral_basic", "num_local_experts", 5));
  EXPECT_TRUE(test::contains(more, "experts.4.w1.weight' is missing")) << more;
  EXPECT_TRUE(test::contains(more, "gate.weight' has the shape [4, 32] instead of [5, 32]"))
      << more;
  const auto fewer = write(changed("mixtral_basic", "num_hidden_layers", 1));
  EXPECT_TRUE(test::contains(fewer, "'model.layers.1.input_layernorm.weight' is unknown")) << fewer;
  const auto tied = write(changed("mixtral_basic", "tie_word_embeddings", true));
  EXPECT_TRUE(test::contains(tied, "expected 'lm_head.weight' to repeat 'embedding'")) << tied;
}

TEST(Families, SayWhatTheyCannotDescribe) {
  const auto mixtral = family_of("mixtral"), llama = family_of("llama");
  DecoderOptions o;
  o.d_model = 8;
  o.uniform.heads = 2;
  o.uniform.moe.router = {.kind = "topk"};
  EXPECT_EQ(test::message_of([&] { mixtral->config(o); }), "");
  EXPECT_ERROR(llama->config(o), "expected 'dense', which models of the family have, got 'moe'");
  o.uniform.qk_norm = true;
  o.uniform.moe.shared = {.kind = "dense", .options = [] {
                            Table t;
                            t.set("d_ff", 3);
                            return t;
                          }()};
  const auto message = test::message_of([&] { mixtral->config(o); });
  EXPECT_TRUE(test::contains(message, "mixer.qk_norm = ")) << message;
  EXPECT_TRUE(test::contains(message, "feed_forward.shared.d_ff = 3 would become")) << message;
}

TEST(Families, CountTheirPublishedNumbers) {
  Table config = HfConfig::read(kGolden / "mixtral_basic" / "model").settings();
  for (const auto& [key, value] :
       {std::pair{"hidden_size", 4096}, std::pair{"intermediate_size", 14336},
        std::pair{"num_attention_heads", 32}, std::pair{"num_hidden_layers", 32},
        std::pair{"num_key_value_heads", 8}, std::pair{"num_local_experts", 8},
        std::pair{"vocab_size", 32000}, std::pair{"max_position_embeddings", 32768}})
    config.set(key, value);
  const auto counts = count(family_of("mixtral")->options(config_of(config)));
  EXPECT_EQ(counts.total, 46'702'792'704);
  EXPECT_EQ(counts.active, 12'879'925'248);
}

}  // namespace
}  // namespace moe::models
