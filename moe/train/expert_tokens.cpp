// E experts.
#include <map>

#include <moe/base/error.h>
#include <moe/train/expert_tokens.h>

namespace moe::train {

ExpertTokenCounts::ExpertTokenCounts(const Parameters& parameters, const models::Model& model) {
  std::map<const c10::TensorImpl*, size_t> layer_of;
  size_t layer = 0;
  for (const auto& block : model.blocks()) {
    if (!block->routes()) continue;
    for (const auto& parameter : parameters_of(*block))
      layer_of[parameter.tensor.unsafeGetTensorImpl()] = layer;
    ++layer;
  }
  for (const auto& parameter : parameters) {
    const auto found = layer_of.find(parameter.tensor.unsafeGetTensorImpl());
    layers_.push_back(found == layer_of.end() ? std::nullopt : std::optional(found->second));
  }
}

ExpertTokens ExpertTokenCounts::by_parameter(const std::vector<Tensor>& of_layers) const {
  ExpertTokens out;
  for (const auto& layer : layers_) {
    check(!layer || *layer < of_layers.size(), "train/expert_tokens",
          "expected counts of more than ", layer.value_or(0), " layers that route, got those of ",
          of_layers.size(), ". Pass what every one of them counted.");
    out.push_back(layer ? of_layers[*layer] : Tensor());
  }
  return out;
}

}  // namespace moe::train
