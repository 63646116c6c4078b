// What loading takes of memory, in a process of its own for each way of storing weights: VmHWM
// never falls. No shape letters: tensors of any shape.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <tests/support/peak_memory.h>
#include <tests/support/temporary_folder.h>

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <moe/base/text.h>
#include <moe/formats/block_scaled.h>
#include <moe/formats/json_table.h>
#include <moe/models/hugging_face.h>
#include <moe/models/load.h>

namespace moe::models::load_memory_test {
namespace {

using formats::TensorSource;

const Path kTiny = Path(MOE_SOURCE_DIR) / "tests" / "golden" / "mixtral_basic" / "model";

/// How a checkpoint stores a model.
struct Storage {
  const char* name;
  bool stacked = false, float8 = false;
  uint64_t shard_bytes = kShardBytes;
};

constexpr int64_t kWidth = 512, kHidden = 1024, kLayers = 8, kExperts = 12;

/// The tensors of transformers 5, which a name map takes where a checkpoint has them.
TensorShapes stacks() {
  TensorShapes out;
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    const auto name = concat("model.layers.", layer, ".mlp.experts.");
    out[name + "gate_up_proj"] = {kExperts, 2 * kHidden, kWidth};
    out[name + "down_proj"] = {kExperts, kWidth, kHidden};
  }
  return out;
}

/// A Mixtral of 331 MB in bfloat16.
void write_model(const Path& folder, const Storage& storage) {
  Table config = HfConfig::read(kTiny).settings();
  for (const auto& [key, value] :
       {std::pair{"hidden_size", kWidth}, std::pair{"intermediate_size", kHidden},
        std::pair{"num_hidden_layers", kLayers}, std::pair{"num_local_experts", kExperts},
        std::pair{"vocab_size", int64_t{8000}}})
    config.set(key, value);
  if (storage.float8)
    config.set("quantization_config",
               table_of({{"quant_method", "fp8"}, {"weight_block_size", Array{128, 128}}}));
  const auto spec = family_of("mixtral")->options(HfConfig(config, "'config.json'"));
  const auto model = make_model(spec);
  const auto map = tensor_map("mixtral", spec, *model, storage.stacked ? stacks() : TensorShapes());
  std::vector<TensorSource> sources;
  for (const auto& tensor : map.tensors()) {
    const bool quantised = storage.float8 && tensor.name.find(".experts.") != std::string::npos;
    const auto type = quantised ? at::kFloat8_e4m3fn : at::kBFloat16;
    sources.push_back({tensor.name, type, tensor.shape,
                       [&tensor, type] { return at::ones(tensor.shape).to(type); }});
    if (!quantised) continue;
    const auto scales = formats::scale_shape(tensor.shape, {128, 128});
    sources.push_back({tensor.name + "_scale_inv", at::kFloat, scales,
                       [scales] { return at::full(scales, 0.5F); }});
  }
  std::filesystem::create_directories(folder);
  formats::write_shards(real_files(), folder, sources, storage.shard_bytes);
  std::ofstream(folder / kHfConfigName) << formats::format_json_table(config);
}

/// Run as a process of its own by the test below.
TEST(LoadMemoryInAnotherProcess, DISABLED_Loads) {
  const Path folder = std::getenv("MOE_TEST_MODEL");
  {
    const auto warm = load(kTiny, at::kBFloat16);  // code and libraries
  }
  const int64_t before = test::peak_memory();
  const auto loaded = load(folder, at::kBFloat16);
  double sum = 0;  // every page is read, also of what is only mapped
  int64_t bytes = 0;
  const at::NoGradGuard no_grad;
  for (const auto& parameter : loaded.model->parameters()) {
    sum += parameter.reshape(-1).slice(0, 0, {}, 1024).sum().item<double>();
    bytes += static_cast<int64_t>(parameter.nbytes());
  }
  const int64_t taken = test::peak_memory() - before;
  std::cout << folder.filename() << ": model " << grouped(bytes) << " bytes, taken "
            << grouped(taken) << ", sum " << sum << '\n';
  EXPECT_LE(taken, bytes + bytes / 10);
  EXPECT_GE(taken, bytes / 2) << "what is not in memory was not loaded";
}

TEST(LoadMemory, IsThatOfTheModelHoweverItIsStored) {
  if (test::peak_memory() < 0) GTEST_SKIP() << "the system does not say what a process has had";
  for (const auto& storage :
       {Storage{.name = "an expert a tensor"},
        Storage{.name = "in shards", .shard_bytes = 100'000'000},
        Storage{.name = "stacked", .stacked = true}, Storage{.name = "float8", .float8 = true}}) {
    const test::TemporaryFolder folder;
    write_model(folder / storage.name, storage);
    ASSERT_EQ(::setenv("MOE_TEST_MODEL", (folder / storage.name).c_str(), 1), 0);
    const std::string command = "'" + std::filesystem::read_symlink("/proc/self/exe").string() +
                                "' --gtest_also_run_disabled_tests --gtest_brief=1 "
                                "--gtest_filter=LoadMemoryInAnotherProcess.DISABLED_Loads";
    EXPECT_EQ(std::system(command.c_str()), 0) << storage.name;
  }
}

}  // namespace
}  // namespace moe::models::load_memory_test
