// Hugging Face directories that are damaged or made to harm: a clear error for each, in bounded
// memory. No shape letters: tensors of any shape.
#include <cstring>
#include <fstream>
#include <tests/support/message_of.h>
#include <tests/support/peak_memory.h>
#include <tests/support/temporary_folder.h>

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <moe/models/configured.h>
#include <moe/models/hugging_face.h>
#include <moe/models/load.h>

#include "tests/models/changed_directory.h"

namespace moe::models::hostile_test {
namespace {

using test::ChangedDirectory;
using test::TemporaryFolder;

const Path kSource = Path(MOE_SOURCE_DIR) / "tests" / "golden" / "mixtral_basic" / "model";
constexpr int64_t kMostMemory = int64_t{300} << 20;

/// The message of loading `folder`, which must come within bounded memory.
std::string refusal(const Path& folder) {
  const bool measures = test::forget_peak();
  const int64_t before = test::peak_memory();
  const auto message = test::message_of([&] { load(folder); });
  EXPECT_NE(message, "");
  if (measures) {
    EXPECT_LT(test::peak_memory() - before, kMostMemory) << message;
  }
  return message;
}

/// A sound copy, its weights in one file or in several shards.
void copy_to(const Path& folder, bool sharded) {
  if (!sharded) {
    ChangedDirectory(kSource).write(folder);
    return;
  }
  const auto loaded = load_hugging_face(kSource);
  write_hugging_face(real_files(), folder, *loaded.model, *loaded.names, loaded.config.settings(),
                     {}, 40'000);
}

/// Any one of the shards of a directory.
Path a_shard(const Path& folder) {
  for (const auto& name : real_files().list(folder))
    if (name.ends_with(".safetensors")) return folder / name;
  throw std::runtime_error("no shard");
}

void replace_in(const Path& file, const std::string& was, const std::string& is) {
  std::string text = read_file(real_files(), file, 1 << 24);
  const size_t at = text.find(was);
  ASSERT_NE(at, text.npos) << was;
  text.replace(at, was.size(), is);
  std::ofstream(file, std::ios::binary) << text;
}

#define EXPECT_REFUSAL(folder, part) EXPECT_PRED2(test::contains, refusal(folder), part)

TEST(HostileDirectories, ATruncatedShard) {
  for (const bool sharded : {false, true}) {
    const TemporaryFolder folder;
    copy_to(folder / "model", sharded);
    const Path shard = a_shard(folder / "model");
    const auto size = std::filesystem::file_size(shard);
    for (const auto left : {size - 1, size / 2, std::uintmax_t{300}, std::uintmax_t{9},
                            std::uintmax_t{7}, std::uintmax_t{0}}) {
      std::filesystem::resize_file(shard, left);
      const auto message = refusal(folder / "model");
      EXPECT_TRUE(test::contains(message, "cut short") || test::contains(message, "empty"))
          << message;
      EXPECT_TRUE(test::contains(message, shard.string())) << message;
    }
  }
}

TEST(HostileDirectories, AnIndexThatNamesAMissingShardOrOneElsewhere) {
  const TemporaryFolder folder;
  copy_to(folder / "model", /*sharded=*/true);
  const Path index = folder / "model" / formats::kShardIndex;
  const auto whole = read_file(real_files(), index, 1 << 20);
  const std::string shard = a_shard(folder / "model").filename();
  for (const auto& [name, part] :
       {std::pair<std::string, std::string>{"missing.safetensors", "missing.safetensors"},
        {"../secret.safetensors", "a file beside the index"},
        {"/etc/passwd", "a file beside the index"},
        {"..", "a file beside the index"},
        {"", "a file beside the index"},
        {"a/b.safetensors", "a file beside the index"}}) {
    std::ofstream(index) << whole;
    replace_in(index, shard, name);
    EXPECT_REFUSAL(folder / "model", part);
  }
}

TEST(HostileDirectories, AFolderOrAFileWithoutEndInPlaceOfAShard) {
  const TemporaryFolder folder;
  copy_to(folder / "model", /*sharded=*/false);
  const Path shard = folder / "model" / formats::kSingleShard;
  std::filesystem::remove(shard);
  std::filesystem::create_directory(shard);
  EXPECT_REFUSAL(folder / "model", shard.string());
  std::filesystem::remove(shard);
  std::filesystem::create_symlink("/dev/zero", shard);
  EXPECT_REFUSAL(folder / "model", shard.string());
}

TEST(HostileDirectories, OffsetsThatOverlapOrLeaveTheFile) {
  const TemporaryFolder folder;
  copy_to(folder / "model", /*sharded=*/false);
  const Path shard = folder / "model" / formats::kSingleShard;
  const auto file = formats::SafetensorsFile::open(shard);
  // The second tensor, as its offsets stand in the header.
  const auto& info = file.info(file.names()[1]);
  const auto whole = read_file(real_files(), shard, 1 << 24);
  const auto shown = [](uint64_t begin, uint64_t end) { return concat("[", begin, ',', end, ']'); };
  const auto with = [&](const std::string& offsets) {
    std::string text = whole;
    const std::string was = shown(info.begin, info.end);
    const size_t at = text.find(was);
    ASSERT_NE(at, text.npos);
    text.replace(at, was.size(), offsets);
    const auto length = static_cast<uint64_t>(8 + offsets.size() - was.size());
    uint64_t header = 0;
    std::memcpy(&header, text.data(), 8);
    header += length - 8;
    std::memcpy(text.data(), &header, 8);
    std::ofstream(shard, std::ios::binary) << text;
  };
  with(shown(info.begin - 4, info.end - 4));
  EXPECT_REFUSAL(folder / "model", "not to overlap");
  with(shown(info.begin + (uint64_t{1} << 62), info.end + (uint64_t{1} << 62)));
  EXPECT_REFUSAL(folder / "model", "no hole");
  with("[0,18446744073709551615]");
  EXPECT_REFUSAL(folder / "model", "whole numbers from 0 to 2^63-1");
}

TEST(HostileDirectories, AHeaderThatLies) {
  const TemporaryFolder folder;
  copy_to(folder / "model", /*sharded=*/false);
  const Path shard = folder / "model" / formats::kSingleShard;
  const auto whole = read_file(real_files(), shard, 1 << 24);
  const auto length = [&](uint64_t number) {
    std::string text = whole;
    std::memcpy(text.data(), &number, 8);
    std::ofstream(shard, std::ios::binary) << text;
  };
  for (const uint64_t number : {uint64_t{1} << 63, ~uint64_t{0}, uint64_t{200'000'000}}) {
    length(number);
    EXPECT_REFUSAL(folder / "model", "expected a header of at most");
  }
  length(whole.size());
  EXPECT_REFUSAL(folder / "model", "cut short");
  std::ofstream(shard, std::ios::binary) << whole;
  replace_in(shard, "\"dtype\":\"F32\"", "\"dtype\":\"F64\"");
  EXPECT_REFUSAL(folder / "model", "dtype times shape");
  std::ofstream(shard, std::ios::binary) << whole;
  replace_in(shard, "\"dtype\":\"F32\"", "\"dtype\":\"Q32\"");
  EXPECT_REFUSAL(folder / "model", "one of BOOL");
}

TEST(HostileDirectories, ShapesThatOverflow) {
  const TemporaryFolder folder;
  ChangedDirectory(kSource).write(folder / "model");
  const Path shard = folder / "model" / formats::kSingleShard;
  const std::string header =
      "{\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],"
      "\"data_offsets\":[0,0]}}";
  const auto size = static_cast<uint64_t>(header.size());
  std::string text(8, '\0');
  std::memcpy(text.data(), &size, 8);
  std::ofstream(shard, std::ios::binary) << text << header;
  EXPECT_REFUSAL(folder / "model", "span less than 2^63 bytes");
}

TEST(HostileDirectories, NumbersOfATypeThatHoldsNone) {
  const TemporaryFolder folder;
  ChangedDirectory directory(kSource);
  const std::string norm = "model.norm.weight",
                    gate = "model.layers.0.block_sparse_moe.gate.weight";
  directory.tensors[norm] = directory.tensors[norm].to(at::kInt);
  directory.tensors[gate] = directory.tensors[gate].to(at::kChar);
  directory.write(folder / "model");
  const auto message = refusal(folder / "model");
  EXPECT_TRUE(test::contains(message, "got 2 of other types")) << message;
  EXPECT_TRUE(test::contains(message, concat('\'', norm, "' is Int"))) << message;
}

TEST(HostileDirectories, SizesInTheConfiguration) {
  const TemporaryFolder folder;
  ChangedDirectory directory(kSource);
  directory.write(folder / "model");
  const Table sound = directory.config;
  const std::vector<std::string> sizes = {
      "hidden_size",         "intermediate_size", "num_attention_heads", "num_hidden_layers",
      "num_key_value_heads", "num_local_experts", "num_experts_per_tok", "vocab_size"};
  for (const auto& key : sizes) {
    for (const Value& value :
         {Value(-1), Value(-(int64_t{1} << 62)), Value(int64_t{1} << 62), Value(1.5), Value("32"),
          Value(int64_t{2147483647}), Value(int64_t{60'000'000}), Value(4096), Value(65536)}) {
      directory.config = sound;
      directory.config.set(key, value);
      directory.write_config(folder / "model");
      SCOPED_TRACE(concat(key, " = ", value.text()));
      const auto message = refusal(folder / "model");
      EXPECT_TRUE(message.starts_with('[')) << message;
    }
    if (key == "num_key_value_heads") continue;  // as many as heads, where it is not said
    directory.config = sound;
    directory.config.set(key, Value());
    directory.write_config(folder / "model");
    EXPECT_REFUSAL(folder / "model", concat('\'', key, '\''));
  }
}

TEST(HostileDirectories, ErrorsOfTheConfigurationNameTheFile) {
  const TemporaryFolder folder;
  ChangedDirectory directory(kSource);
  directory.write(folder / "model");
  const Table sound = directory.config;
  const Path file = folder / "model" / kHfConfigName;
  for (const auto& [key, value] : {std::pair<const char*, Value>{"num_experts_per_tok", 5},
                                   {"num_hidden_layers", 5000},
                                   {"num_key_value_heads", 3},
                                   {"num_attention_heads", 7},
                                   {"model_type", "mixtrale"},
                                   {"hidden_act", "mish"},
                                   {"rms_norm_eps", -1.0},
                                   {"new_key", 1}}) {
    directory.config = sound;
    directory.config.set(key, value);
    directory.write_config(folder / "model");
    SCOPED_TRACE(key);
    EXPECT_THROW(load(folder / "model"), ConfigError);
    EXPECT_REFUSAL(folder / "model", file.string());
  }
  EXPECT_EQ(naming_file("[a] b.\n  item", "/x/config.json"),
            "[a] b. That is what '/x/config.json' says.\n  item");
  EXPECT_EQ(naming_file("[a] b in '/x/config.json'.", "/x/config.json"),
            "[a] b in '/x/config.json'.");
}

TEST(HostileDirectories, AFolderThatIsNoModelSaysWhatIsMissing) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "x");
  EXPECT_REFUSAL(folder / "x", "found an empty folder. Check the path.");
  std::ofstream(folder / "x" / "notes.txt") << "x";
  EXPECT_REFUSAL(folder / "x", "found none of them. Check the path.");
  std::ofstream(folder / "x" / "config.toml") << "[model]";
  EXPECT_REFUSAL(folder / "x", "found a run without a checkpoint");
  std::filesystem::remove(folder / "x" / "config.toml");
  std::ofstream(folder / "x" / "model.safetensors") << "x";
  EXPECT_REFUSAL(folder / "x", "found weights without config.json. Fetch it too.");
  EXPECT_THROW(load(folder / "x"), ConfigError);
}

/// Empty files, which nothing may read: a pickle can run code.
void put_empty(const Path& folder, const std::vector<std::string>& names) {
  for (const auto& name : names) {
    std::filesystem::create_directories((folder / name).parent_path());
    std::ofstream(folder / name).flush();
  }
}

TEST(HostileDirectories, WhatMistralAndMetaGaveOut) {
  const TemporaryFolder folder;
  int64_t number = 0;
  for (const auto& [shard, config] : {std::pair{"consolidated.00.pth", false},
                                      {"consolidated.00.pt", false},
                                      {"consolidated.safetensors", false},
                                      {"consolidated.00.pth", true},
                                      {"consolidated-00001-of-00002.safetensors", true}}) {
    SCOPED_TRACE(shard);
    const Path model = folder / std::to_string(number++);
    if (config) {
      ChangedDirectory(kSource).write(model);
      std::filesystem::remove(model / formats::kSingleShard);
    }
    put_empty(model, {"params.json", "tokenizer.model", shard});
    EXPECT_REFUSAL(model, concat("found Mistral's or Meta's own layout ('", shard,
                                 "'). Fetch the "
                                 "Hugging Face form of the model, such as "
                                 "mistralai/Mixtral-8x7B-v0.1, or convert it"));
  }
}

TEST(HostileDirectories, TheTensorsOfGrok1) {
  const TemporaryFolder folder;
  for (const std::string part : {"", "ckpt-0/", "ckpt/", "checkpoints/ckpt-0/"}) {
    SCOPED_TRACE(part);
    const Path model = folder / concat("grok-", part.size());
    put_empty(model, {"README.md", part + "tensor00000_000", part + "tensor00001_000"});
    EXPECT_REFUSAL(model,
                   "found the JAX checkpoint of grok-1 (pickled tensors). Fetch its Hugging "
                   "Face conversion, hpcai-tech/grok-1.");
    ChangedDirectory(kSource).write(folder / "beside");
    std::filesystem::copy(folder / "beside" / kHfConfigName, model);
    std::filesystem::remove_all(folder / "beside");
    EXPECT_REFUSAL(model, "found the JAX checkpoint of grok-1");
  }
}

TEST(HostileDirectories, WeightsOfPyTorchAlone) {
  const TemporaryFolder folder;
  for (const std::string name : {"pytorch_model.bin", "model.pt", "weights.pth"}) {
    const Path model = folder / name;
    ChangedDirectory(kSource).write(model);
    std::filesystem::remove(model / formats::kSingleShard);
    put_empty(model, {name});
    EXPECT_REFUSAL(model, concat("found PyTorch's ('", name,
                                 "'), which can run code when they are "
                                 "read. Write them anew: python3 -c "));
    std::filesystem::remove(model / kHfConfigName);
    if (name.ends_with(".bin")) {
      EXPECT_REFUSAL(model, "found weights without config.json. Fetch it too.");
    }
  }
}

TEST(HostileDirectories, AConfigurationThatIsNone) {
  const TemporaryFolder folder;
  ChangedDirectory(kSource).write(folder / "model");
  const Path config = folder / "model" / kHfConfigName;
  const std::string deep = std::string(100'000, '['), key = "{\"model_type\":\"mixtral\",\"x\":";
  for (const std::string& text :
       {std::string("{}"), std::string(""), std::string("[1]"), std::string("{\"model_type\": 7}"),
        key + deep, key + std::string(1 << 20, '9') + "}",
        key + "\"" + std::string((16 << 20) + 1, 'a') + "\"}",
        std::string("{\"model_type\":\"mixtral\",\"model_type\":\"llama\"}"),
        std::string("{\"model_type\":\"mixtral\"")}) {
    std::ofstream(config) << text;
    EXPECT_TRUE(refusal(folder / "model").starts_with('[')) << text.substr(0, 60);
  }
}

}  // namespace
}  // namespace moe::models::hostile_test
