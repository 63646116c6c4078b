// Directories with quantised weights, with those of PyTorch alone, and with numbers that are none.
// No shape letters: tensors of any shape.
#include <fstream>
#include <limits>
#include <tests/support/message_of.h>
#include <tests/support/temporary_folder.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <moe/models/family.h>
#include <moe/models/load.h>
#include <moe/models/save.h>
#include <moe/models/stored_weights.h>

#include "tests/models/changed_directory.h"
#include "tests/models/parity.h"

namespace moe::models::stored_weights_test {
namespace {

using test::ChangedDirectory;
using test::TemporaryFolder;

const Path kMixtral = Path(MOE_SOURCE_DIR) / "tests" / "golden" / "mixtral_basic" / "model";
const Path kLlama = Path(MOE_SOURCE_DIR) / "tests" / "golden" / "llama_tied" / "model";

Table fp8_table(int64_t rows, int64_t columns) {
  return table_of({{"quant_method", "fp8"},
                   {"fmt", "e4m3"},
                   {"activation_scheme", "dynamic"},
                   {"weight_block_size", Array{rows, columns}}});
}

bool is_projection(const std::string& name) {
  return name.ends_with("_proj.weight") || name.find("experts.") != std::string::npos;
}

/// The directory with its projections in float8; `plain` gets what they stand for.
ChangedDirectory quantised(const Path& source, ChangedDirectory& plain) {
  const formats::BlockSize block = {12, 20};  // ragged at the edges of every matrix
  ChangedDirectory out = plain = ChangedDirectory(source);
  for (auto& [name, tensor] : plain.tensors) {
    if (!is_projection(name)) continue;
    const auto scales = at::rand(formats::scale_shape(tensor.sizes(), block)) + 0.5;
    out.tensors[name] = (tensor * 100).to(at::kFloat8_e4m3fn);
    out.tensors[name + "_scale_inv"] = scales / 100;
    tensor = formats::widen_float8(out.tensors[name], scales / 100, block, at::kFloat);
  }
  out.config.set("quantization_config", fp8_table(block[0], block[1]));
  return out;
}

void expect_same_parameters(const Model& a, const Model& b) {
  const auto left = a.named_parameters(), right = b.named_parameters();
  ASSERT_EQ(left.size(), right.size());
  for (const auto& item : left)
    EXPECT_TRUE(at::equal(item.value(), right[item.key()])) << item.key();
}

TEST(StoredWeights, WidenFloat8WhereverItStands) {
  for (const auto& source : {kMixtral, kLlama}) {
    const TemporaryFolder folder;
    ChangedDirectory plain(source);
    quantised(source, plain).write(folder / "fp8");
    plain.write(folder / "plain");
    const auto wide = load(folder / "fp8");
    expect_same_parameters(*wide.model, *load(folder / "plain").model);
    EXPECT_EQ(stored_type(folder / "fp8"), at::kFloat) << "of the plain ones";
    // Written again, they are plain, and config.json says nothing else.
    save_hugging_face(wide, folder / "written");
    EXPECT_FALSE(HfConfig::read(folder / "written").has("quantization_config"));
    expect_same_parameters(*wide.model, *load(folder / "written").model);
    const auto narrow = load(folder / "fp8", at::kBFloat16);
    for (const auto& item : narrow.model->named_parameters())
      EXPECT_TRUE(
          at::equal(item.value(), wide.model->named_parameters()[item.key()].to(at::kBFloat16)))
          << item.key();
  }
}

TEST(StoredWeights, TakeOneScaleATensor) {
  const TemporaryFolder folder;
  ChangedDirectory plain(kLlama);
  auto changed = quantised(kLlama, plain);
  for (auto& [name, tensor] : changed.tensors) {
    if (!name.ends_with("_scale_inv")) continue;
    tensor = at::full({}, 0.25F);
    const std::string weight = name.substr(0, name.size() - 10);
    plain.tensors[weight] = changed.tensors[weight].to(at::kFloat) * 0.25;
  }
  Table settings = fp8_table(1, 1);
  settings.set("weight_block_size", Value());
  settings.set("activation_scheme", "static");
  changed.config.set("quantization_config", settings);
  changed.tensors["model.layers.0.mlp.up_proj.activation_scale"] = at::full({}, 3.0F);
  expect_same_parameters(*load(changed.write(folder / "fp8")).model,
                         *load(plain.write(folder / "plain")).model);
}

TEST(StoredWeights, WidenMxfp4AsTransformersDoes) {
  const TemporaryFolder folder;
  ChangedDirectory directory(kLlama);
  const auto blocks = at::randint(0, 256, {3, 6, 2, 16}, at::kLong).to(at::kByte),
             scales = at::randint(120, 130, {3, 6, 2}, at::kLong).to(at::kByte);
  directory.tensors["experts.up_blocks"] = blocks;
  directory.tensors["experts.up_scales"] = scales;
  directory.config.set(
      "quantization_config",
      table_of({{"quant_method", "mxfp4"}, {"modules_to_not_convert", Array{"lm_head"}}}));
  directory.write(folder / "model");
  const auto weights = StoredWeights::open(folder / "model", HfConfig::read(folder / "model"));
  EXPECT_EQ(weights.shapes().at("experts.up"), (std::vector<int64_t>{3, 64, 6}));
  EXPECT_FALSE(weights.shapes().contains("experts.up_scales"));
  EXPECT_EQ(weights.dtype("experts.up"), std::nullopt);
  EXPECT_EQ(weights.dtype("model.norm.weight"), at::kFloat);
  const auto wide = weights.tensor("experts.up", at::kBFloat16);
  EXPECT_TRUE(at::equal(wide.transpose(1, 2),
                        formats::widen_mxfp4(blocks, scales, at::kFloat).to(at::kBFloat16)));
  weights.release("experts.up");
  EXPECT_TRUE(at::equal(weights.tensor("experts.up", at::kBFloat16), wide));
}

TEST(StoredWeights, RefuseOtherMethodsByName) {
  const TemporaryFolder folder;
  ChangedDirectory plain(kLlama);
  auto changed = quantised(kLlama, plain);
  changed.write(folder / "model");
  const auto refusal = [&](const std::string& key, Value value) {
    Table settings = fp8_table(12, 20);
    settings.set(key, std::move(value));
    changed.config.set("quantization_config", settings);
    changed.write_config(folder / "model");
    return test::message_of([&] { load(folder / "model"); });
  };
  EXPECT_EQ(refusal("quant_method", "fp8"), "");
  for (const char* method : {"gptq", "awq", "compressed-tensors", "bitsandbytes"})
    EXPECT_TRUE(test::contains(refusal("quant_method", method), concat("got '", method, '\'')));
  EXPECT_TRUE(test::contains(refusal("quant_method", Value()), "at 'quant_method'"));
  EXPECT_TRUE(test::contains(refusal("fmt", "e3m4"), "at 'fmt'"));
  EXPECT_TRUE(test::contains(refusal("activation_scheme", "other"), "at 'activation_scheme'"));
  EXPECT_TRUE(test::contains(refusal("group_size", 32), "'group_size' = 32"));
  for (const Value& block : {Value(Array{12}), Value(Array{0, 20}), Value(Array{"a", 20}),
                             Value(12), Value(Array{-1, 20}), Value(Array{int64_t{1} << 40, 20})})
    EXPECT_TRUE(test::contains(refusal("weight_block_size", block), "at 'weight_block_size'"));
  // The method is asked for before anything is read or made.
  EXPECT_EQ(refusal("quant_method", "fp8"), "");
}

TEST(StoredWeights, ListEveryWeightWithoutItsScales) {
  const TemporaryFolder folder;
  ChangedDirectory plain(kLlama);
  auto changed = quantised(kLlama, plain);
  const std::string q = "model.layers.0.self_attn.q_proj.weight",
                    k = "model.layers.0.self_attn.k_proj.weight",
                    v = "model.layers.0.self_attn.v_proj.weight";
  changed.tensors.erase(q + "_scale_inv");
  changed.tensors.erase(k);
  changed.tensors[v + "_scale_inv"] = at::full({7, 7}, 1.0F);
  changed.write(folder / "model");
  const auto message = test::message_of([&] { load(folder / "model"); });
  EXPECT_TRUE(test::contains(message, "got 3 that do not fit")) << message;
  EXPECT_TRUE(test::contains(message, concat('\'', q, "' has no scales"))) << message;
  EXPECT_TRUE(test::contains(message, concat('\'', k, "_scale_inv' has no float8 weight")))
      << message;
  EXPECT_TRUE(test::contains(message, concat('\'', v, "_scale_inv' has the shape [7, 7]")))
      << message;
  changed = quantised(kLlama, plain);
  changed.config.set("quantization_config", Value());
  EXPECT_ERROR(load(changed.write(folder / "unsaid")), "which is float8, found none");
}

TEST(StoredWeights, SayHowToWritePyTorchFilesAnew) {
  const TemporaryFolder folder;
  ChangedDirectory(kLlama).write(folder / "model");
  std::filesystem::rename(folder / "model" / formats::kSingleShard,
                          folder / "model" / "pytorch_model-00001-of-00002.bin");
  const auto message = test::message_of([&] { load(folder / "model"); });
  EXPECT_TRUE(test::contains(message, "found PyTorch's ('pytorch_model-00001-of-00002.bin')"))
      << message;
  EXPECT_TRUE(test::contains(message, "save_pretrained('NEW_DIR')")) << message;
}

TEST(StoredWeights, WarnOfNumbersThatAreNone) {
  const TemporaryFolder folder;
  ChangedDirectory directory(kMixtral);
  directory.tensors["model.norm.weight"][3] = std::numeric_limits<double>::quiet_NaN();
  directory.tensors["model.layers.1.block_sparse_moe.experts.2.w1.weight"][0][1] =
      std::numeric_limits<double>::infinity();
  directory.write(folder / "model");
  testing::internal::CaptureStderr();
  load(folder / "model");
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(test::contains(said, "warning: weights of ")) << said;
  EXPECT_TRUE(test::contains(said, "in 2 tensors")) << said;
  EXPECT_TRUE(test::contains(said, "\n  'model.norm.weight': 1 of 32")) << said;
  EXPECT_TRUE(test::contains(said, "experts.2.w1.weight': 1 of ")) << said;
  testing::internal::CaptureStderr();
  load(kMixtral);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

/// As transformers 5 stores a Mixtral.
ChangedDirectory stacked_mixtral() {
  ChangedDirectory out(kMixtral);
  out.rename([](std::string name) {
    if (const size_t at = name.find("block_sparse_moe"); at != name.npos)
      name.replace(at, 16, "mlp");
    return name;
  });
  for (const std::string layer : {"model.layers.0.mlp.experts.", "model.layers.1.mlp.experts."}) {
    std::vector<Tensor> in, down;
    for (int64_t e = 0; e < 4; ++e) {
      const auto take = [&](const char* matrix) {
        const auto node = out.tensors.extract(concat(layer, e, '.', matrix, ".weight"));
        return node.mapped();
      };
      in.push_back(at::cat({take("w1"), take("w3")}));
      down.push_back(take("w2"));
    }
    out.tensors[layer + "gate_up_proj"] = at::stack(in);
    out.tensors[layer + "down_proj"] = at::stack(down);
  }
  return out;
}

TEST(StoredWeights, KeepTheWayTheyWereStored) {
  const TemporaryFolder folder;
  const auto stacked = stacked_mixtral();
  stacked.write(folder / "model");
  const auto loaded = load(folder / "model");
  expect_same_parameters(*loaded.model, *load(kMixtral).model);
  save_hugging_face(loaded, folder / "copy");
  const auto copy = formats::SafetensorsShards::open(folder / "copy");
  ASSERT_EQ(copy.names().size(), stacked.tensors.size());
  for (const auto& [name, tensor] : stacked.tensors)
    EXPECT_TRUE(at::equal(copy.tensor(name), tensor)) << name;
  // Gradients have the names and shapes of the directory's tensors.
  std::map<std::string, Tensor> gradients;
  const auto rows =
      parse_token_rows("{\"input_ids\": [[1, 2, 3, 4]]}", "x", loaded.model->traits().vocabulary);
  for (auto& [name, tensor] :
       forward_pass(*loaded.model, rows, {.gradients = true, .names = loaded.names.get()}))
    gradients[name] = tensor;
  for (const auto& [name, tensor] : stacked.tensors) {
    ASSERT_TRUE(gradients.contains("grad." + name)) << name;
    EXPECT_EQ(gradients["grad." + name].sizes(), tensor.sizes()) << name;
  }
}

TEST(StoredWeights, ReadTheLanguageModelOfMultimodalDirectories) {
  for (const auto& [from, to] :
       {std::pair{"model.", "model.language_model."}, std::pair{"", "language_model."}}) {
    const TemporaryFolder folder;
    ChangedDirectory directory(kMixtral);
    directory.rename([&](const std::string& name) {
      return name.starts_with(from) ? to + name.substr(std::string(from).size()) : name;
    });
    const auto other = at::rand({3, 2, 2}).to(at::kHalf);
    directory.tensors["model.vision_tower.blocks.0.weight"] = other;
    directory.tensors["multi_modal_projector.linear.weight"] = other;
    Table text = directory.config;
    text.set("tie_word_embeddings", true);  // the one beside text_config wins
    text.set("dtype", "float32");
    directory.config = table_of({{"model_type", "some_multimodal"},
                                 {"vision_config", table_of({{"depth", 1}})},
                                 {"tie_word_embeddings", false},
                                 {"image_token_id", 7},
                                 {"text_config", text}});
    directory.write(folder / "model");
    const auto loaded = load(folder / "model");
    EXPECT_EQ(loaded.family, "mixtral");
    expect_same_parameters(*loaded.model, *load(kMixtral).model);
    save_hugging_face(load(folder / "model", at::kBFloat16), folder / "copy");
    const auto copy = formats::SafetensorsShards::open(folder / "copy");
    EXPECT_EQ(copy.names().size(), directory.tensors.size());
    EXPECT_TRUE(at::equal(copy.tensor("model.vision_tower.blocks.0.weight"), other));
    const auto config = HfConfig::read(folder / "copy");
    EXPECT_EQ(config.text("torch_dtype"), "bfloat16");
    EXPECT_EQ(config.inside("text_config").text("dtype"), "bfloat16");
    directory.tensors["model.other.weight"] = other;
    EXPECT_ERROR(load(directory.write(folder / "more")), "'model.other.weight' is unknown");
  }
}

}  // namespace
}  // namespace moe::models::stored_weights_test
