// A checkpoint computes the same bits when every file is gone, or another, that its model was made
// from. T tokens, V vocabulary, E experts.
#include <filesystem>
#include <set>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <moe/balance/term.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/tensors.h>
#include <moe/config/toml.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/formats/safetensors.h>
#include <moe/models/save.h>
#include <moe/parameters/list.h>
#include <moe/routing/replay.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace moe::models::sources_gone_test {
namespace {

using at::Tensor;
using test::TemporaryFolder;

constexpr int64_t kExperts = 4, kVocabulary = 256;

/// Options of kinds that name a file, each of which `router_of` gives one.
const std::set<std::string> kFileOptions = {"router hash counts_file", "router replay path"};

/// Counts of ids that fall from `first` on, round the vocabulary.
void write_counts(const Path& folder, int64_t first) {
  const Tensor counts_V =
      (at::arange(kVocabulary, at::kLong) + first).remainder(kVocabulary).square();
  formats::write_safetensors(real_files(), folder / "counts.safetensors", {{"counts", counts_V}});
}

/// 64 tokens with 2 experts each, of which `first` is the first one's.
void write_recording(const Path& folder, int64_t first) {
  const Tensor experts_TK = (at::arange(128, at::kLong) + first).reshape({64, 2});
  routing::write_recording(
      real_files(), folder / "recording.safetensors",
      fixed_choices(experts_TK.remainder(kExperts), at::full({64, 2}, 0.3, at::kDouble), kExperts));
}

/// A router of `kind` with everything that it can take from files, which stand in `folder`.
RouterSpec router_of(const std::string& kind, const Path& folder) {
  RouterSpec out;
  out.kind = kind;
  if (kind == "hash") {
    out.options.set("table", "balanced");
    out.options.set("counts_file", (folder / "counts.safetensors").string());
  }
  if (kind == "replay") out.options.set("path", (folder / "recording.safetensors").string());
  return out;
}

/// Two layers that route, with every balance term.
DecoderOptions options_with(const RouterSpec& router) {
  DecoderOptions options = test::tiny_text_options();
  options.causal = false;  // expert choice looks ahead
  options.uniform.layers = 2;
  options.uniform.moe.every = 1;
  options.uniform.moe.num_experts = kExperts;
  options.uniform.moe.top_k = router.kind == "switch" || router.kind == "base" ? 1 : 2;
  options.uniform.moe.router = router;
  options.uniform.moe.balance.clear();
  for (const auto& term : balance::terms().names()) {
    // These look at a router's matrix, which not every one has, and have no state.
    if (term == "gate_diversity" || term == "similarity") continue;
    if (term == "relu_l1" && router.kind != "relu") continue;
    options.uniform.moe.balance.push_back({term, 0.1, {}});
    // Not every router has a matrix.
    if (term == "orthogonality") options.uniform.moe.balance.back().options.set("of", "experts");
  }
  return options;
}

ModelSpec spec_with(const RouterSpec& router) {
  return options_with(router);
}

LoadedModel loaded_model(const ModelSpec& spec) {
  LoadedModel out;
  out.model = make_model(spec, /*seed=*/5);
  out.tokenizer = data::make_tokenizer("byte");
  out.config.set("model", write_fields(spec));
  // What routers and terms move by themselves is not where it started.
  const StepStatistics counts{.counts_E = at::arange(kExperts, at::kLong) * 3,
                              .step = 1,
                              .tokens = 10,
                              .task_loss = 2.5,
                              .record_R = at::ones({kExperts + 1}, at::kDouble)};
  for (int64_t step = 0; step < 3; ++step) out.model->end_step({counts, counts});
  return out;
}

/// Logits and the routing of every layer.
std::vector<Tensor> outputs_of(Model& model) {
  const Tensor ids_BS = at::arange(24, at::kLong).square().remainder(kVocabulary).view({2, 12});
  const auto out = test::run_rows(model, ids_BS);
  std::vector<Tensor> found = {out.logits_BSV};
  for (const auto& layer : out.layers)
    found.insert(found.end(), {layer.routing.experts_N, layer.routing.weights_N});
  return found;
}

/// A model with routers of `kind` that was made from files in `folder`.
LoadedModel model_from(const Path& folder, const std::string& kind) {
  write_counts(folder, 1);
  write_recording(folder, 1);
  return loaded_model(spec_with(router_of(kind, folder)));
}

void expect_same(Model& model, const LoadedModel& expected) {
  const auto a = outputs_of(model), b = outputs_of(*expected.model);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
  const auto c = tensors_of(model), d = tensors_of(*expected.model);
  ASSERT_EQ(c.size(), d.size());
  for (size_t i = 0; i < c.size(); ++i)
    EXPECT_TRUE(at::equal(c[i].tensor, d[i].tensor)) << c[i].name;
}

TEST(SourcesGone, EveryRouterAndTermLoadsAndComputesTheSameBits) {
  for (const auto& kind : routing::routers().names()) {
    SCOPED_TRACE(kind);
    const TemporaryFolder sources, folder;
    const auto before = model_from(sources.path(), kind);
    save_native(before, folder / "saved");
    write_counts(sources.path(), 77);
    write_recording(sources.path(), 2);
    expect_same(*load(folder / "saved").model, before);
    std::filesystem::remove_all(sources.path());
    const auto after = load(folder / "saved");
    expect_same(*after.model, before);
    save_native(after, folder / "again");
    expect_same(*load(folder / "again").model, before);
  }
}

TEST(SourcesGone, EveryExpertLoadsAndComputesTheSameBits) {
  for (const auto& kind : experts::expert_kinds().names()) {
    SCOPED_TRACE(kind);
    const TemporaryFolder folder;
    auto options = options_with({.kind = "topk"});
    options.uniform.moe.expert.kind = kind;
    const auto before = loaded_model(options);
    save_native(before, folder / "saved");
    expect_same(*load(folder / "saved").model, before);
  }
}

template <class Registry>
void add_file_options(const Registry& registry, std::set<std::string>& out) {
  for (const auto& kind : registry.names())
    for (const auto& field : registry.at(kind).fields())
      for (const char* word : {"file", "path", "folder", "dir"})
        if (field.type == "string" && field.name.find(word) != std::string::npos)
          out.insert(concat(registry.list_name(), ' ', kind, ' ', field.name));
}

TEST(SourcesGone, NoOtherKindReadsAFile) {
  std::set<std::string> found;
  add_file_options(routing::routers(), found);
  add_file_options(balance::terms(), found);
  add_file_options(experts::expert_kinds(), found);
  add_file_options(dispatch::dispatchers(), found);
  add_file_options(layers::mixers(), found);
  add_file_options(layers::feed_forwards(), found);
  add_file_options(architectures(), found);
  EXPECT_EQ(found, kFileOptions)
      << "give a new one a file in router_of, and the model a part that holds what it reads";
}

TEST(SourcesGone, AModelIsDescribedWithoutThem) {
  for (const char* kind : {"hash", "replay"})
    EXPECT_EQ(make_model(spec_with(router_of(kind, "/nowhere")))->blocks().size(), 2u);
  EXPECT_ERROR(make_model(spec_with(router_of("hash", "/nowhere")), 1), "/nowhere/counts");
  EXPECT_ERROR(make_model(spec_with(router_of("replay", "/nowhere")), 1), "/nowhere/recording");
}

/// A checkpoint as versions wrote it that read the files each time.
void save_as_before(const LoadedModel& model, const Path& folder) {
  Parameters kept;
  for (const auto& tensor : tensors_of(*model.model))
    if (tensor.info.part != Part::kRouter || tensor.info.role != Role::kState)
      kept.push_back(tensor);
  checkpoint::Publication publication(folder);
  publication.add("config.toml",
                  [&](OutputFile& out) { out.write(bytes_of(config::write_toml(model.config))); });
  checkpoint::add_tensors(publication, "model", kept);
  publication.finish({});
}

TEST(SourcesGone, CheckpointsThatLackThemAreRefusedWithARemedyThatWorks) {
  for (const char* kind : {"hash", "replay"}) {
    SCOPED_TRACE(kind);
    const TemporaryFolder sources, folder;
    const auto before = model_from(sources.path(), kind);
    save_as_before(before, folder / "old");
    const std::string message = test::message_of([&] { load(folder / "old"); });
    EXPECT_PRED2(test::contains, message, "--to native --read-sources");
    EXPECT_PRED2(test::contains, message,
                 std::string("\n  missing: layers.0.moe.router.") +
                     (kind == std::string("hash") ? "table" : "offsets"));
    LoadOptions options;
    options.read_sources = true;
    const auto after = load(folder / "old", options);
    expect_same(*after.model, before);
    save_native(after, folder / "new");
    std::filesystem::remove_all(sources.path());
    expect_same(*load(folder / "new").model, before);
    EXPECT_ERROR(load(folder / "old", options), sources.path().string());
  }
  // State that is missing for another reason gets no such advice.
  const TemporaryFolder folder;
  const auto biased = loaded_model(spec_with({.kind = "sigmoid"}));
  save_as_before(biased, folder / "old");
  const std::string message = test::message_of([&] { load(folder / "old"); });
  EXPECT_PRED2(test::contains, message, "missing: layers.0.moe.router.selection_bias");
  EXPECT_FALSE(test::contains(message, "--read-sources")) << message;
}

TEST(Types, NarrowOnesLeaveTheStateOfRoutersAndTermsExact) {
  for (const auto& kind : routing::routers().names()) {
    SCOPED_TRACE(kind);
    const TemporaryFolder sources, folder;
    const auto before = model_from(sources.path(), kind);
    const at::NoGradGuard no_grad;
    // Steps of 0.001 near 0.5, which bfloat16 does not tell apart.
    for (const auto& [name, tensor, info] : tensors_of(*before.model))
      if (info.role == Role::kState && tensor.is_floating_point())
        Tensor(tensor).copy_(0.5 + 0.001 * at::arange(tensor.numel()).view(tensor.sizes()));
    save_native(before, folder / "saved");
    save_native(load(folder / "saved", at::kBFloat16), folder / "narrow");
    EXPECT_EQ(stored_type(folder / "narrow"), at::kBFloat16);
    for (const char* name : {"saved", "narrow"})
      for (const auto type : {at::kBFloat16, at::kFloat}) {
        const auto model = load(folder / name, type).model;
        const auto a = tensors_of(*model), b = tensors_of(*before.model);
        for (size_t i = 0; i < a.size(); ++i) {
          if (b[i].info.role != Role::kState) continue;
          EXPECT_EQ(a[i].tensor.scalar_type(), b[i].tensor.scalar_type()) << a[i].name;
          EXPECT_TRUE(at::equal(a[i].tensor, b[i].tensor)) << a[i].name;
        }
      }
  }
}

TEST(Types, BiasesAndTemperaturesOfRoutersStayWideAndMatricesDoNot) {
  for (const char* kind : {"topk", "mlp", "cosine", "sigmoid"}) {
    SCOPED_TRACE(kind);
    RouterSpec router{.kind = kind};
    if (kind == std::string("topk") || kind == std::string("sigmoid"))
      router.options.set("bias", true);
    const TemporaryFolder folder;
    const auto before = loaded_model(spec_with(router));
    const at::NoGradGuard no_grad;
    for (auto& parameter : before.model->parameters()) parameter.add_(1.001);
    save_native(before, folder / "saved");
    const auto model = load(folder / "saved", at::kBFloat16).model;
    const auto a = parameters_of(*model), b = parameters_of(*before.model);
    int64_t wide = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      const auto& info = a[i].info;
      const bool stays =
          info.part == Part::kRouter && (info.role == Role::kBias || info.role == Role::kScale);
      wide += stays;
      EXPECT_EQ(a[i].tensor.scalar_type(), stays ? at::kFloat : at::kBFloat16) << a[i].name;
      EXPECT_TRUE(at::equal(a[i].tensor, b[i].tensor.to(a[i].tensor.scalar_type()))) << a[i].name;
    }
    EXPECT_GE(wide, 2);  // one in each layer
    EXPECT_TRUE(outputs_of(*model)[0].isfinite().all().item<bool>());
    for (const auto& parameter : tensors_of(*load(folder / "saved", at::kDouble).model))
      if (parameter.tensor.is_floating_point()) {
        EXPECT_EQ(parameter.tensor.scalar_type(), at::kDouble) << parameter.name;
      }
  }
}

}  // namespace
}  // namespace moe::models::sources_gone_test
