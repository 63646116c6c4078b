#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <moe/models/model.h>
#include <moe/parameters/materialise.h>

namespace moe::models {

Recompute parse_recompute(const std::string& name, const std::string& option) {
  check_one_of("config", option, name, {"none", "moe", "blocks"});
  return name == "moe" ? Recompute::kMoE : name == "blocks" ? Recompute::kBlocks : Recompute::kNone;
}

Tensor ModelOutput::balance_loss() const {
  const bool wide = hidden_TD.scalar_type() == at::kDouble;
  Tensor total = at::zeros(
      {}, hidden_TD.options().requires_grad(false).dtype(wide ? at::kDouble : at::kFloat));
  for (const auto& layer : layers) total = total + layer.balance.loss();
  return total;
}

at::Device Model::device() const {
  const auto all = parameters();
  return all.empty() ? at::Device(at::kCPU) : all.front().device();
}

at::ScalarType Model::dtype() const {
  const auto all = parameters();
  return all.empty() ? at::kFloat : all.front().scalar_type();
}

void ModelSpec::find_unknown(UnknownKeys& unknown) const {
  architectures().find_unknown(architecture, options, unknown);
}

void ModelSpec::validate(const std::string& place) const {
  architectures().at(architecture).check(options, place);
}

void ModelSpec::resolve() {
  options = architectures().at(architecture).resolve(options);
}

std::shared_ptr<Model> make_model(const ModelSpec& spec, const ModelShape& shape) {
  return architectures().at(spec.architecture).make(shape, spec.options);
}

std::shared_ptr<Model> make_model(const ModelSpec& spec, uint64_t seed, const ModelShape& shape,
                                  at::Device device, at::ScalarType dtype) {
  auto model = make_model(spec, shape);
  materialise(*model, device, dtype);
  model->draw(seed);
  return model;
}

#define MOE_REGISTRY architectures
#define MOE_REGISTRY_NAMES "architecture"
#define MOE_REGISTRY_TABLE <moe/models/architectures.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::models
