// T tokens, E experts, D width, V outputs.
#include <algorithm>
#include <map>
#include <set>

#include <ATen/core/grad_mode.h>

#include <moe/layers/chunked_loss.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/counts.h>
#include <moe/parameters/materialise.h>
#include <moe/planning/workload.h>
#include <moe/train/groups.h>
#include <moe/train/optimizer.h>

namespace moe::planning {

namespace {

constexpr const char* kPlaceOfWorkload = "planning/workload";

/// The experts of a block that ranks can share; null: it has none.
const layers::MoELayerImpl* mixture_of(const layers::BlockImpl& block) {
  return block.feed_forward().mixture();
}

double bytes_of(const Tensor& tensor, at::ScalarType type) {
  return static_cast<double>(tensor.numel()) * static_cast<double>(c10::elementSize(type));
}

/// Where the bytes of a parameter go: the layer whose experts it is one of; -1: on every rank.
class Owners {
 public:
  Owners(const models::Model& model, const std::vector<const layers::MoELayerImpl*>& mixtures) {
    std::map<const c10::TensorImpl*, int64_t> layer_of;
    for (size_t i = 0; i < mixtures.size(); ++i)
      for (const auto& parameter : tensors_of(mixtures[i]->experts()))
        layer_of[parameter.tensor.unsafeGetTensorImpl()] = static_cast<int64_t>(i);
    for (const auto& parameter : tensors_of(model)) {
      const auto found = layer_of.find(parameter.tensor.unsafeGetTensorImpl());
      owner_[parameter.name] = {found == layer_of.end() ? -1 : found->second, parameter};
    }
  }

  struct Owner {
    int64_t layer = -1;
    Parameter parameter;
  };
  /// Of a parameter, or of what an optimizer keeps of one, whose name goes on behind the
  /// parameter's; null: of none.
  const Owner* of(std::string name) const {
    for (;;) {
      if (const auto found = owner_.find(name); found != owner_.end()) return &found->second;
      const size_t dot = name.rfind('.');
      if (dot == std::string::npos) return nullptr;
      name.resize(dot);
    }
  }

 private:
  std::map<std::string, Owner> owner_;
};

/// Adds the bytes of all parameters, and of what the optimizer keeps.
void add_state(const models::Model& model, const train::OptimizerOptions& optimizer,
               at::ScalarType dtype, const std::vector<const layers::MoELayerImpl*>& mixtures,
               Workload& out) {
  const Owners owners(model, mixtures);
  const auto add = [&](const Owners::Owner* owner, double StateBytes::*part, double bytes) {
    if (!owner || owner->layer < 0) {
      out.replicated.*part += bytes;
      return;
    }
    auto& layer = out.layers[static_cast<size_t>(owner->layer)];
    layer.state.*part += bytes / static_cast<double>(layer.experts);
  };
  for (const auto& parameter : tensors_of(model)) {
    const auto* owner = owners.of(parameter.name);
    const double bytes = bytes_of(parameter.tensor, type_in(parameter, dtype));
    add(owner, &StateBytes::weights, bytes);
    if (parameter.tensor.requires_grad()) add(owner, &StateBytes::gradients, bytes);
  }
  const auto made = train::make_optimizer(parameters_of(model), optimizer);
  for (const auto& kept : made->state()) {
    const auto* owner = owners.of(kept.name);
    // Moments have the shape and type of their parameter.
    const bool moment = owner && owner->parameter.tensor.sizes() == kept.tensor.sizes();
    add(owner, &StateBytes::moments,
        bytes_of(kept.tensor,
                 moment ? type_in(owner->parameter, dtype) : kept.tensor.scalar_type()));
  }
}

/// Numbers that the backward pass needs of a token, or of a pair, that went through the matrices of
/// `parameters`: outputs of those that the residual stream does not take, inputs of those it does.
/// Of stacks of experts one expert's; `but`: of these none.
double kept_by_matrices(const Parameters& parameters, const std::set<const c10::TensorImpl*>& but) {
  double out = 0;
  for (const auto& [name, tensor, info] : parameters) {
    if (info.role != Role::kMatrix || but.contains(tensor.unsafeGetTensorImpl())) continue;
    const int64_t first = info.per_expert ? 1 : 0;
    if (tensor.dim() < first + 2) continue;
    out += static_cast<double>(tensor.size(info.residual ? -1 : first));
  }
  return out;
}

std::set<const c10::TensorImpl*> tensors_in(const torch::nn::Module& module) {
  std::set<const c10::TensorImpl*> out;
  for (const auto& parameter : parameters_of(module))
    out.insert(parameter.tensor.unsafeGetTensorImpl());
  return out;
}

ExpertLayer layer_of(const layers::MoELayerImpl& moe, const layers::FeedForward& feed_forward) {
  ExpertLayer out;
  out.experts = moe.options().num_experts;
  out.pairs_per_token =
      &moe == &feed_forward
          ? moe.active_experts()
          : feed_forward.active_share({.part = Part::kExperts}) * static_cast<double>(out.experts);
  out.width = moe.options().d_model;
  out.flops_per_pair = static_cast<double>(moe.experts().flops_per_row());
  out.kept_per_pair = kept_by_matrices(parameters_of(moe.experts()), {});
  return out;
}

/// How many vectors of the model's width a half of a block keeps beside what its matrices do: the
/// stream that it reads, and the norm of it.
constexpr double kVectorsOfAHalf = 2;
/// Numbers that a router keeps for each expert of a token: logits, scores, what the choice leaves.
constexpr double kNumbersOfARouter = 4;

/// `stream`, `number`: bytes of a number of the residual stream, and of products.
KeptBlock kept_of(const layers::BlockImpl& block, int64_t width, double stream, double number) {
  const auto* moe = mixture_of(block);
  const double vectors = kVectorsOfAHalf * static_cast<double>(width) * stream;
  double mixing = 0;
  for (const auto* mixer : block.mixers())
    mixing += vectors + kept_by_matrices(parameters_of(*mixer), {}) * number;
  const auto experts = moe ? tensors_in(moe->experts()) : std::set<const c10::TensorImpl*>();
  double feeding =
      vectors + kept_by_matrices(parameters_of(block.feed_forward()), experts) * number;
  if (moe) feeding += kNumbersOfARouter * static_cast<double>(moe->options().num_experts) * stream;
  KeptBlock out;
  out.all = mixing + feeding;
  out.input = static_cast<double>(width) * stream;
  out.without_moe = moe ? mixing + out.input : out.all;
  return out;
}

/// Width of the stream: of the table of ids.
int64_t width_of(const models::Model& model) {
  for (const auto& parameter : parameters_of(model))
    if (parameter.info.role == Role::kEmbedding && parameter.tensor.dim() == 2)
      return parameter.tensor.size(1);
  fail(kPlaceOfWorkload, "expected a model with a table of ids, found none. Plan another.");
}

/// FLOPs, and what train.recompute makes of them again.
void add_flops(const models::Model& model, Workload& out) {
  const auto counts = models::count(model);
  const auto traits = model.traits();
  out.parameters = counts.total;
  double experts = 0, mixing = 0, feeding = 0;
  for (const auto& layer : out.layers) experts += layer.pairs_per_token * layer.flops_per_pair;
  const bool sees_half = traits.causal && traits.encoder_layers == 0;
  const int64_t keys = sees_half ? (out.sequence + 1) / 2 : out.sequence;
  for (const auto& block : model.blocks()) {
    for (const auto* mixer : block->mixers())
      mixing += static_cast<double>(mixer->flops_over_keys(keys));
    if (mixture_of(*block)) feeding += static_cast<double>(block->feed_forward().flops_per_token());
  }
  const double head = 2 * static_cast<double>(counts.active_without_input_embedding -
                                              counts.active_without_embeddings);
  out.flops_per_token =
      2 * static_cast<double>(counts.active_without_input_embedding) + mixing - experts;
  if (out.recompute == "moe") out.flops_again = std::max(0.0, feeding - experts);
  if (out.recompute == "blocks") out.flops_again = out.flops_per_token - head;
}

}  // namespace

int64_t Workload::most_experts() const {
  int64_t out = 1;
  for (const auto& layer : layers) out = std::max(out, layer.experts);
  return out;
}

Workload workload_of(const train::RunOptions& run) {
  const auto model = models::make_model(run.model);
  const auto traits = model->traits();
  check<ConfigError>(
      traits.vocabulary > 0, kPlaceOfWorkload,
      "expected a model of text, got one of images. Only text models can be planned.");
  const auto& t = run.train;
  Workload out;
  out.dtype = t.dtype;
  out.number_bytes = t.dtype == "bfloat16" ? 2 : t.dtype == "float64" ? 8 : 4;
  out.batch = t.batch;
  out.sequence = run.data.sequence;
  out.accumulation = t.accumulation;
  out.passes = t.consistency.coefficient > 0 ? 2 : 1;
  out.recompute = t.recompute;
  check<ConfigError>(out.tokens_per_step() < 0x1p53, kPlaceOfWorkload,
                     "expected fewer than 2^53 tokens a step, got ", out.tokens_per_step(),
                     ". Lower train.batch, data.sequence or train.accumulation.");

  train::freeze(tensors_of(*model), t.optimizer.groups);
  std::vector<const layers::MoELayerImpl*> mixtures;
  int64_t number = 0;
  const auto blocks = model->blocks();
  for (const auto& block : blocks) {
    if (const auto* moe = mixture_of(*block)) {
      mixtures.push_back(moe);
      out.layers.push_back(layer_of(*moe, block->feed_forward()));
      out.layers.back().layer = number;
    }
    ++number;
  }
  add_state(*model, t.optimizer, t.dtype == "float64" ? at::kDouble : at::kFloat, mixtures, out);

  add_flops(*model, out);

  const double stream = t.dtype == "float64" ? 8 : 4;
  const int64_t width = width_of(*model);
  int64_t experts = 0;
  for (const auto& block : blocks) {
    out.blocks.push_back(kept_of(*block, width, stream, out.number_bytes));
    if (mixture_of(*block)) out.blocks.back().experts = experts++;
  }
  out.hidden_bytes = 2 * static_cast<double>(width) * stream;
  out.logits_bytes = 2 * static_cast<double>(traits.outputs) * stream;
  out.most_logits_bytes =
      std::max(out.logits_bytes,
               2 * static_cast<double>(layers::CrossEntropyOptions{}.logits_at_once) * stream);
  return out;
}

}  // namespace moe::planning
