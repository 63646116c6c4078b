#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <moe/models/model.h>

namespace moe::models {

Recompute parse_recompute(const std::string& name, const std::string& option) {
  check_one_of("config", option, name, {"none", "moe", "blocks"});
  return name == "moe" ? Recompute::kMoE : name == "blocks" ? Recompute::kBlocks : Recompute::kNone;
}

Tensor ModelOutput::balance_loss() const {
  Tensor total = at::zeros({}, logits_BSV.options());
  for (const auto& layer : layers) total = total + layer.balance.loss();
  return total;
}

void ModelSpec::find_unknown(UnknownKeys& unknown) const {
  families().find_unknown(family, options, unknown);
}

void ModelSpec::validate(const std::string& place) const {
  families().at(family).check(options, place);
}

namespace kinds {
#define X(name, help) ModelRegistry::Entry make_##name();
#include <moe/models/models.def>
#undef X
}  // namespace kinds

ModelRegistry& families() {
  static ModelRegistry* const registry = [] {
    auto* made = new ModelRegistry("model family");
#define X(name, help) made->add(#name, help, kinds::make_##name());
#include <moe/models/models.def>
#undef X
    return made;
  }();
  return *registry;
}

}  // namespace moe::models
