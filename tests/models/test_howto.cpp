// The family of docs/howto/add_a_model_family.md: its checkpoint is a Llama's with tensors fused.
#include <fstream>
#include <tests/support/howto.h>
#include <tests/support/temporary_folder.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/formats/json_table.h>
#include <moe/models/decoder_family.h>
#include <moe/models/hugging_face.h>

namespace moe::models {

namespace families_table {
FamilyRegistry::Entry make_phi3();
}

namespace howto_test {

namespace {

const bool kRegistered = moe::test::register_howto(families(), "phi3", families_table::make_phi3());

/// A filled Llama, and its config.json as Phi-3's.
struct Example {
  ModelSpec spec;
  std::shared_ptr<Model> model;
  Table config;
};

Example example() {
  Table config = table_of({{"model_type", "llama"},
                           {"vocab_size", 13},
                           {"hidden_size", 8},
                           {"intermediate_size", 6},
                           {"num_hidden_layers", 2},
                           {"num_attention_heads", 4},
                           {"num_key_value_heads", 2},
                           {"rms_norm_eps", 1e-5},
                           {"max_position_embeddings", 16}});
  const HfConfig llama(config, "'config.json'");
  Example out{family_of(llama)->options(llama), nullptr, config};
  out.model = make_model(out.spec, /*seed=*/3);
  out.config.set("model_type", "phi3");
  return out;
}

/// The tensors of a Llama under Phi-3's names.
formats::NamedTensors phi3_tensors(const Example& llama) {
  const auto map = tensor_map("llama", llama.spec, *llama.model);
  const auto ours = tensors_of(*llama.model);
  std::map<std::string, Tensor> theirs;
  for (const auto& tensor : map.tensors())
    theirs[tensor.name] = to_foreign(tensor, [&](size_t p) { return ours[p].tensor.detach(); });
  const auto take = [&](const std::string& name) { return theirs.extract(name).mapped(); };
  for (const char* layer : {"model.layers.0.", "model.layers.1."}) {
    const std::string attention = std::string(layer) + "self_attn.",
                      mlp = std::string(layer) + "mlp.";
    theirs[attention + "qkv_proj.weight"] =
        at::cat({take(attention + "q_proj.weight"), take(attention + "k_proj.weight"),
                 take(attention + "v_proj.weight")});
    theirs[mlp + "gate_up_proj.weight"] =
        at::cat({take(mlp + "gate_proj.weight"), take(mlp + "up_proj.weight")});
  }
  return {theirs.begin(), theirs.end()};
}

TEST(HowTo, TheFamilyOfThePageReadsAndWritesItsCheckpoints) {
  ASSERT_TRUE(kRegistered);
  const moe::test::TemporaryFolder folder;
  const Example llama = example();
  formats::write_safetensors(real_files(), folder / formats::kSingleShard, phi3_tensors(llama));
  std::ofstream(folder / kHfConfigName) << formats::format_json_table(llama.config);

  const auto loaded = load_hugging_face(folder.path());
  EXPECT_EQ(loaded.family, "phi3");
  const auto a = loaded.model->named_parameters(), b = llama.model->named_parameters();
  ASSERT_EQ(a.size(), b.size());
  for (const auto& item : a) EXPECT_TRUE(at::equal(item.value(), b[item.key()])) << item.key();

  const auto map = tensor_map("phi3", loaded.spec, *loaded.model);
  write_hugging_face(real_files(), folder / "copy", *loaded.model, map,
                     family_of("phi3")->config(loaded.spec));
  const auto was = formats::SafetensorsShards::open(folder.path()),
             is = formats::SafetensorsShards::open(folder / "copy");
  ASSERT_EQ(was.names().size(), is.names().size());
  for (const auto& name : was.names())
    EXPECT_TRUE(at::equal(was.tensor(name), is.tensor(name))) << name;
  EXPECT_TRUE(
      config::differences(loaded.spec.options, read_hugging_face(folder / "copy").spec.options)
          .empty());
}

}  // namespace

}  // namespace howto_test

}  // namespace moe::models
