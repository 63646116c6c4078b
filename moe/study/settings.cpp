// T tokens, V vocabulary.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include <moe/config/overrides.h>
#include <moe/models/architectures/decoder.h>
#include <moe/models/counts.h>
#include <moe/study/settings.h>

namespace moe::study {

namespace {

models::DecoderOptions decoder_of(const train::RunOptions& run) {
  check<ConfigError>(run.model.architecture == "decoder", "study",
                     "expected model.architecture = \"decoder\", got \"", run.model.architecture,
                     "\". Studies compare decoders.");
  models::DecoderOptions out;
  read_fields(out, run.model.options, "model");
  return out;
}

}  // namespace

train::RunOptions with_settings(const train::RunOptions& base,
                                const std::vector<std::string>& settings) {
  Table table = write_fields(base);
  for (const auto& setting : settings) config::apply_override(table, setting);
  train::RunOptions out;
  read_fields(out, table, "");
  return out;
}

train::RunOptions with_feed_forward(const train::RunOptions& base,
                                    const layers::FeedForwardSpec& spec) {
  auto model = decoder_of(base);
  model.blocks = model.block_specs();
  for (auto& block : model.blocks)
    if (block.feed_forward.kind == "moe") block.feed_forward = spec;
  // Of what described the blocks, what stands outside of them stays.
  models::UniformBlocks outside;
  outside.norm = model.uniform.norm;
  outside.norm_position = model.uniform.norm_position;
  outside.norm_epsilon = model.uniform.norm_epsilon;
  outside.dropout = model.uniform.dropout;
  model.uniform = outside;
  train::RunOptions out = base;
  out.model = model;
  return out;
}

train::RunOptions bidirectional(const train::RunOptions& base) {
  auto model = decoder_of(base);
  model.causal = false;
  ++model.vocabulary;  // one more id, which stands for what is hidden
  train::RunOptions out = base;
  out.model = model;
  out.train.objective = {.kind = "masked_token"};
  return out;
}

std::string trial(const train::RunOptions& run) {
  constexpr int64_t kRows = 2;
  try {
    const auto model = models::make_model(run.model, 1);
    const auto traits = model->traits();
    const int64_t S = std::min<int64_t>(traits.context_length, 16);
    ModelInputs inputs;
    inputs.tokens.sequences = Sequences::equal(kRows, S);
    inputs.tokens.ids_T = at::arange(kRows * S, at::kLong).remainder(traits.vocabulary);
    if (const auto domains = static_cast<int64_t>(run.data.domains.size()); domains > 0) {
      inputs.tokens.domains_T = at::arange(kRows * S, at::kLong).remainder(domains);
      inputs.tokens.num_domains = domains;
    }
    models::ForwardContext context;
    context.training = true;
    const auto out = model->forward(inputs, context);
    (model->head(out.hidden_TD).square().mean() + out.balance_loss()).backward();
    context.training = false;
    model->forward(inputs, context);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool has_field(const std::vector<FieldInfo>& fields, const std::string& name) {
  return std::ranges::find(fields, name, &FieldInfo::name) != fields.end();
}

Size size_of(const train::RunOptions& run) {
  const auto counts = models::count(run.model);
  return {counts.flops_per_token, counts.active, counts.total};
}

}  // namespace moe::study
