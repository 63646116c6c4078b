#include <cmath>

#include <moe/models/counts.h>
#include <moe/parameters/list.h>

namespace moe::models {

namespace {

/// Numbers of the parameters of `module`, those among them that are never trained, `share` of each.
template <class Share>
double numbers_of(const torch::nn::Module& module, const Share& share) {
  double out = 0;
  for (const Parameter& parameter : tensors_of(module))
    if (parameter.info.role != Role::kState)
      out += share(parameter.info) * static_cast<double>(numbers_in_use(parameter));
  return out;
}

/// Numbers of the table of ids that a tied model makes its outputs with.
double numbers_of_tied_head(const Model& model) {
  for (const auto& [name, tensor, info] : parameters_of(model))
    if (info.role == Role::kEmbedding && tensor.size(0) == model.traits().outputs)
      return static_cast<double>(tensor.numel());
  return numbers_of(
      model, [](const ParameterInfo& info) { return info.role == Role::kEmbedding ? 1 : 0; });
}

}  // namespace

ModelCounts count(const Model& model) {
  const auto of_role = [](Role role) {
    return [role](const ParameterInfo& info) { return info.role == role ? 1 : 0; };
  };
  const ModelTraits traits = model.traits();
  double idle = 0;
  int64_t mixing = 0, layer = 0;
  ModelCounts out;
  for (const auto& block : model.blocks()) {
    const auto& feed_forward = block->feed_forward();
    idle += numbers_of(feed_forward, [&](const ParameterInfo& info) {
      return 1 - feed_forward.active_share(info);
    });
    for (const auto* mixer : block->mixers()) {
      idle += numbers_of(*mixer,
                         [&](const ParameterInfo& info) { return 1 - mixer->active_share(info); });
      mixing += mixer->flops_over_keys(traits.context_length);
      if (traits.causal && layer >= traits.encoder_layers)
        out.state_numbers += mixer->state_numbers(traits.context_length);
    }
    ++layer;
  }
  // Numbers below 2^53 add up exactly.
  const auto total = numbers_of(model, [](const ParameterInfo&) { return 1; });
  const auto embedding = numbers_of(model, of_role(Role::kEmbedding)),
             head = numbers_of(model, of_role(Role::kHead));
  check<ConfigError>(total < 0x1p57, "models/count",
                     "expected a model of fewer than 2^57 parameters, got ", total,
                     ". Lower its widths, layers or experts.");
  const double output = head > 0 || traits.outputs == 0 ? head : numbers_of_tied_head(model);
  const double active = total - idle, inner = active - embedding - head;
  out.total = std::llround(total);
  out.active = std::llround(active);
  out.active_without_embeddings = std::llround(inner);
  out.active_without_input_embedding = std::llround(inner + output);
  out.flops_per_token = 2 * out.active_without_input_embedding + mixing;
  return out;
}

}  // namespace moe::models
