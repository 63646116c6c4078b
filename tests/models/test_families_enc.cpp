// Families of encoder-decoders and of routed attention: other programs' numbers, and both ways
// between their directories and our models. T tokens.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <tests/support/message_of.h>
#include <tests/support/temporary_folder.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <moe/flow/packing.h>
#include <moe/formats/json_table.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/mixers/routed_attention.h>
#include <moe/models/counts.h>
#include <moe/models/decoder_family.h>
#include <moe/models/encoder_decoder_family.h>
#include <moe/models/load.h>
#include <moe/models/save.h>
#include <moe/routing/kinds/switch.h>
#include <moe/routing/kinds/topk.h>

#include "tests/models/family_checks.h"
#include "tests/models/parity.h"

namespace moe::models::families_enc_test {
namespace {

using test::TemporaryFolder;

const Path kShared = Path(MOE_SHARED_DIR) / "parity";
const std::vector<std::string> kCases = {"jetmoe_basic", "switch_basic", "switch_capacity",
                                         "nllb_moe"};

class FamiliesEnc : public testing::Test {
 protected:
  void SetUp() override {
    if (!real_files().exists(kShared / "README.md"))
      GTEST_SKIP() << "no parity cases at " << kShared;
  }
};

Table config_of(const std::string& name) {
  return HfConfig::read(kShared / name / "model").settings();
}

Table changed(const std::string& name, const std::string& key, Value value) {
  Table out = config_of(name);
  out.set(key, std::move(value));
  return out;
}

template <class Options>
Options options_from(const Table& settings) {
  const HfConfig config(settings, "'config.json'");
  return options_of<Options>(family_of(config)->options(config));
}

std::string refusal(const Table& settings) {
  const HfConfig config(settings, "'config.json'");
  return test::message_of([&] { family_of(config)->options(config); });
}

void expect_same_tensors(const Path& a, const Path& b) {
  const auto left = formats::SafetensorsShards::open(a),
             right = formats::SafetensorsShards::open(b);
  ASSERT_EQ(left.names().size(), right.names().size());
  for (const auto& name : left.names()) {
    const Tensor x = left.tensor(name), y = right.tensor(name);
    ASSERT_EQ(x.scalar_type(), y.scalar_type()) << name;
    ASSERT_EQ(x.sizes(), y.sizes()) << name;
    EXPECT_EQ(std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()), 0) << name;
  }
}

TEST_F(FamiliesEnc, GiveTheNumbersOfTheSharedCases) {
  for (const auto& name : kCases) test::expect_parity(kShared / name);
}

TEST_F(FamiliesEnc, ComeBackBitForBit) {
  for (const auto& name : kCases) {
    SCOPED_TRACE(name);
    const Path source = kShared / name / "model";
    const TemporaryFolder folder;
    save_hugging_face(load(source), folder / "copy");
    expect_same_tensors(source, folder / "copy");
    save_native(load(source), folder / "native");
    const auto was = read_hugging_face(source);
    save_hugging_face(load(folder / "native"), folder / "back", was.family);
    expect_same_tensors(source, folder / "back");
    const auto is = read_hugging_face(folder / "back");
    EXPECT_EQ(was.family, is.family);
    if (was.spec.architecture == "decoder")
      EXPECT_TRUE(
          differences(options_of<DecoderOptions>(was.spec), options_of<DecoderOptions>(is.spec))
              .empty());
    else
      EXPECT_TRUE(differences(options_of<EncoderDecoderOptions>(was.spec),
                              options_of<EncoderDecoderOptions>(is.spec))
                      .empty());
  }
}

TEST_F(FamiliesEnc, RefuseEveryKeyOfAnotherType) {
  const std::vector<std::string> no_matter = {"activation_dropout",
                                              "add_cross_attention",
                                              "add_router_probs",
                                              "architectures",
                                              "attention_dropout",
                                              "bos_token_id",
                                              "decoder_layerdrop",
                                              "dropout",
                                              "dropout_rate",
                                              "dtype",
                                              "encoder_layerdrop",
                                              "eos_token_id",
                                              "init_std",
                                              "initializer_factor",
                                              "initializer_range",
                                              "is_decoder",
                                              "num_attention_heads",
                                              "output_router_logits",
                                              "router_ignore_padding_tokens",
                                              "transformers_version",
                                              "use_cache"};
  for (const auto& name : kCases)
    for (const auto& [key, value] : config_of(name)) {
      if (value.empty() || key == "model_type" || std::ranges::count(no_matter, key) > 0) continue;
      if (name == "nllb_moe" && key == "expert_capacity") continue;  // of a limit it does not have
      const auto message = refusal(changed(name, key, Value(Array{Value(Table())})));
      EXPECT_TRUE(test::contains(message, concat('\'', key)))
          << name << ": " << key << ": " << message;
    }
}

TEST_F(FamiliesEnc, DecodingFromAStateGivesTheSameLogits) {
  test::expect_decoding_matches(kShared / "jetmoe_basic");
  const at::NoGradGuard no_grad;
  for (const std::string name : {"switch_basic", "switch_capacity", "nllb_moe"}) {
    SCOPED_TRACE(name);
    const auto loaded = load_hugging_face(kShared / name / "model", at::kDouble);
    auto& model = *loaded.model;
    const auto rows =
        parse_token_rows(read_file(real_files(), kShared / name / "tokens.json", 1 << 20),
                         "tokens.json", model.traits().vocabulary, /*decoder=*/true);
    const Packing read(rows.valid_BS);
    const int64_t B = rows.decoder_BS.size(0), S = rows.decoder_BS.size(1);
    ModelInputs inputs;
    inputs.tokens = {.sequences = read.sequences(), .ids_T = read.pack(rows.ids_BS)};
    inputs.decoder = {.sequences = Sequences::equal(B, S), .ids_T = rows.decoder_BS.flatten()};
    const Tensor whole = model.head(model.forward(inputs, {}).hidden_TD).view({B, S, -1});
    GenerationState state = model.new_state(S, at::kDouble);
    state.join(B);
    for (int64_t t = 0; t < S; ++t) {
      inputs.decoder = {
          .sequences = state.sequences(std::vector<int64_t>(static_cast<size_t>(B), 1)),
          .ids_T = rows.decoder_BS.select(1, t).contiguous()};
      ForwardContext context;
      context.state = &state;
      const Tensor got = model.head(model.forward(inputs, context).hidden_TD);
      EXPECT_LE(test::largest(got - whole.select(1, t)), 1e-9 * test::largest(whole)) << t;
      inputs.tokens = {.sequences = Sequences::equal(B, 0),
                       .ids_T = inputs.tokens.ids_T.slice(0, 0, 0)};
    }
  }
}

TEST_F(FamiliesEnc, ReadEveryKeyOfSwitch) {
  using O = EncoderDecoderOptions;
  const auto mixture = [](const O& o, size_t block) {
    return kind_options<layers::MoELayerOptions>(o.decoder[block].feed_forward);
  };
  O o = options_from<O>(config_of("switch_capacity"));
  EXPECT_FALSE(o.tied_embeddings);
  EXPECT_EQ(o.logit_scale, 1);
  EXPECT_EQ(mixture(o, 1).capacity.limit, 2);
  EXPECT_NEAR(options_from<O>(config_of("switch_basic")).logit_scale, std::pow(32, -0.5), 1e-15);
  o = options_from<O>(changed("switch_basic", "layer_norm_epsilon", 1e-4));
  EXPECT_EQ(o.norm_epsilon, 1e-4);
  EXPECT_EQ(o.encoder[1].norm_epsilon, 1e-4);
  o = options_from<O>(changed("switch_basic", "relative_attention_max_distance", 40));
  EXPECT_EQ(kind_options<Attention>(o.decoder[1].mixer).relative.max_distance, 40);
  o = options_from<O>(changed("switch_basic", "router_bias", true));
  EXPECT_TRUE(kind_options<SwitchRouter>(mixture(o, 1).router).bias);
  o = options_from<O>(changed("switch_basic", "decoder_start_token_id", 5));
  EXPECT_EQ(o.decoder_start, 5);
  o = options_from<O>(changed("switch_basic", "dense_act_fn", "gelu_new"));
  EXPECT_EQ(kind_options<Dense>(o.encoder[0].feed_forward).activation, "gelu_tanh");
  // Published ones say how many layers are sparse; others how far they are apart, too.
  Table five = config_of("switch_basic");
  five.set("num_layers", int64_t{5});
  five.set("encoder_sparse_step", int64_t{1});
  five.set("num_decoder_layers", Value());
  five.set("decoder_sparse_step", Value());
  five.set("num_sparse_decoder_layers", int64_t{2});
  o = options_from<O>(five);
  EXPECT_EQ(routing_of(o.encoder), (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(routing_of(o.decoder), (std::vector<int64_t>{1, 3}));
  o = options_from<O>(changed("switch_basic", "encoder_sparse_step", int64_t{0}));
  EXPECT_TRUE(routing_of(o.encoder).empty());
  for (const auto& [key, value] : {std::pair{"router_dtype", Value("bfloat16")},
                                   {"feed_forward_proj", Value("gated-silu")},
                                   {"is_encoder_decoder", Value(false)},
                                   {"tie_encoder_decoder", Value(true)},
                                   {"scalable_attention", Value(true)}})
    EXPECT_TRUE(test::contains(refusal(changed("switch_basic", key, value)), key)) << key;
}

TEST_F(FamiliesEnc, GatedExpertsOfSwitchHaveTwoMatricesIn) {
  Table settings = changed("switch_basic", "feed_forward_proj", "gated-gelu");
  const auto o = options_from<EncoderDecoderOptions>(settings);
  EXPECT_EQ(kind_options<Dense>(o.encoder[0].feed_forward).form, "gated");
  EXPECT_EQ(kind_options<layers::MoELayerOptions>(o.encoder[1].feed_forward).expert.kind, "gated");
  const auto model = make_model(ModelSpec(o));
  const auto map = tensor_map("switch_transformers", o, *model);
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& tensor : map.tensors()) shapes[tensor.name] = tensor.shape;
  EXPECT_EQ(shapes.at("encoder.block.0.layer.1.mlp.wi_0.weight"), (std::vector<int64_t>{40, 32}));
  EXPECT_EQ(shapes.at("decoder.block.1.layer.2.mlp.experts.expert_3.wi_1.weight"),
            (std::vector<int64_t>{40, 32}));
  EXPECT_FALSE(shapes.contains("encoder.block.0.layer.1.mlp.wi.weight"));
  EXPECT_TRUE(differences(o, options_from<EncoderDecoderOptions>(
                                 family_of("switch_transformers")->config(o)))
                  .empty());
}

TEST_F(FamiliesEnc, ReadEveryKeyOfNllb) {
  using O = EncoderDecoderOptions;
  const auto mixture = [](const O& o) {
    return kind_options<layers::MoELayerOptions>(o.encoder[1].feed_forward);
  };
  O o = options_from<O>(config_of("nllb_moe"));
  EXPECT_NEAR(kind_options<TopKRouter>(mixture(o).router).scale, 0.8, 1e-15);
  EXPECT_FALSE(mixture(o).capacity.limits(false));
  EXPECT_NEAR(o.embedding_scale, std::sqrt(24), 1e-12);
  EXPECT_EQ(o.pad_id, 1);
  EXPECT_EQ(options_from<O>(changed("nllb_moe", "scale_embedding", false)).embedding_scale, 1);
  EXPECT_EQ(options_from<O>(changed("nllb_moe", "pad_token_id", 0)).pad_id, 0);
  EXPECT_EQ(kind_options<TopKRouter>(
                mixture(options_from<O>(changed("nllb_moe", "moe_token_dropout", 0.0))).router)
                .scale,
            1);
  Table limited = changed("nllb_moe", "moe_eval_capacity_token_fraction", 0.5);
  auto capacity = mixture(options_from<O>(limited)).capacity;
  EXPECT_EQ(capacity.eval_fraction, 0.5);
  EXPECT_TRUE(capacity.whole_call);
  EXPECT_TRUE(capacity.renormalise);
  EXPECT_EQ(capacity.order, "choice");
  limited.set("batch_prioritized_routing", true);
  limited.set("normalize_router_prob_before_dropping", true);
  capacity = mixture(options_from<O>(limited)).capacity;
  EXPECT_FALSE(capacity.renormalise);
  EXPECT_EQ(capacity.order, "score");
  limited.set("moe_eval_capacity_token_fraction", 0.0);
  limited.set("expert_capacity", int64_t{3});
  o = options_from<O>(limited);
  EXPECT_EQ(mixture(o).capacity.limit, 3);
  EXPECT_TRUE(differences(o, options_from<O>(family_of("nllb_moe")->config(o))).empty());
  EXPECT_EQ(
      routing_of(options_from<O>(changed("nllb_moe", "decoder_sparse_step", 0)).decoder).size(),
      0u);
  for (const auto& [key, value] : {std::pair{"second_expert_policy", Value("random")},
                                   {"router_dtype", Value("float16")},
                                   {"activation_function", Value("mish")},
                                   {"moe_token_dropout", Value(1.5)}})
    EXPECT_TRUE(test::contains(refusal(changed("nllb_moe", key, value)), key)) << key;
}

TEST_F(FamiliesEnc, ReadEveryKeyOfJetMoE) {
  using O = DecoderOptions;
  O o = options_from<O>(config_of("jetmoe_basic"));
  EXPECT_EQ(o.blocks[0].norm_epsilon, 1e-6);
  EXPECT_EQ(o.uniform.norm_epsilon, 1e-5);
  auto attention = kind_options<RoutedAttention>(o.blocks[1].mixer);
  EXPECT_EQ(attention.kv_heads, 2);
  EXPECT_EQ(attention.head_dim, 8);
  // The dialect of its authors.
  Table theirs = config_of("jetmoe_basic");
  for (const auto& [key, other] : {std::pair{"num_local_experts", "moe_num_experts"},
                                   {"num_experts_per_tok", "moe_top_k"},
                                   {"intermediate_size", "ffn_hidden_size"},
                                   {"num_hidden_layers", "num_layers"}}) {
    theirs.set(other, *theirs.find(key));
    theirs.set(key, Value());
  }
  theirs.set("rope_parameters", Value());
  theirs.set("rope_theta", 10000.0);
  EXPECT_TRUE(differences(o, options_from<O>(theirs)).empty());
  theirs.set("rope_theta", 500.0);
  attention = kind_options<RoutedAttention>(options_from<O>(theirs).blocks[0].mixer);
  EXPECT_EQ(attention.rope.theta, 500);
  EXPECT_TRUE(test::contains(refusal(changed("jetmoe_basic", "glu", false)), "'glu'"));
  EXPECT_TRUE(test::contains(refusal(changed("jetmoe_basic", "qk_norm", true)), "'qk_norm'"));
  // Half of the experts work for a token, in attention and behind it.
  const ModelCounts counts = count(*make_model(ModelSpec(o)));
  EXPECT_EQ(counts.total - counts.active, 2 * (2 * 2 * 16 * 32 + 2 * 3 * 20 * 32));
}

}  // namespace
}  // namespace moe::models::families_enc_test
