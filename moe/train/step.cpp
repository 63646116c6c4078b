// E experts.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/xlogy.h>

#include <moe/objectives/evaluate.h>
#include <moe/parallel/gradients.h>
#include <moe/train/clip.h>
#include <moe/train/frozen.h>
#include <moe/train/step.h>

namespace moe::train {

namespace {

/// Adds up what the micro-batches report.
class Totals {
 public:
  void add(const models::ModelOutput& out, int64_t micro_batches, bool count_tokens) {
    layers_.resize(out.layers.size());
    if (count_tokens) tokens_.resize(out.layers.size());
    for (size_t i = 0; i < out.layers.size(); ++i) {
      const auto& report = out.layers[i].balance;
      auto& layer = layers_[i];
      layer.layer = out.layers[i].layer;
      layer.load_E = layer.load_E.defined() ? layer.load_E + report.load_E : report.load_E;
      layer.dropped += report.dropped.item<double>();
      layer.tokens += report.tokens.item<double>();
      if (count_tokens) {
        const Tensor reached_E = out.layers[i].routing.counts_E();
        tokens_[i] = tokens_[i].defined() ? tokens_[i] + reached_E : reached_E;
      }
      terms_.resize(report.terms.size());
      for (size_t j = 0; j < report.terms.size(); ++j) {
        terms_[j].first = report.terms[j].name;
        terms_[j].second +=
            report.terms[j].value.item<double>() /
            static_cast<double>(micro_batches * static_cast<int64_t>(out.layers.size()));
      }
    }
  }

  std::vector<Tensor> counts() const {
    std::vector<Tensor> out;
    for (const auto& layer : layers_) out.push_back(layer.load_E.to(at::kLong));
    return out;
  }

  std::vector<LayerLoad> layers_;
  std::vector<Tensor> tokens_;  // of this rank
  std::vector<std::pair<std::string, double>> terms_;
};

}  // namespace

double LayerLoad::max_over_mean() const {
  const double mean = load_E.mean().item<double>();
  return mean > 0 ? load_E.max().item<double>() / mean : 0;
}

double LayerLoad::entropy() const {
  const double total = load_E.sum().item<double>();
  if (total == 0) return std::nan("");
  if (load_E.size(0) < 2) return 1;
  const Tensor share_E = load_E / total;
  return -at::xlogy(share_E, share_E).sum().item<double>() /
         std::log(static_cast<double>(load_E.size(0)));
}

int64_t LayerLoad::unused() const {
  return load_E.eq(0).sum().item<int64_t>();
}

StepResult forward_backward(const StepInputs& inputs, const std::vector<data::Batch>& read,
                            int64_t step, const Parameters& parameters) {
  const RandomKey random = {inputs.seed, static_cast<uint64_t>(step), 0};
  std::vector<data::Batch> micro_batches;
  for (const auto& batch : read) micro_batches.push_back(inputs.objective.prepared(batch, random));
  const auto device = inputs.model.device();
  const auto over_all_ranks = [&](double value) {
    Tensor sum = at::full({}, value, at::TensorOptions(at::kDouble).device(device));
    inputs.group.all_reduce(sum);
    return sum.item<double>();
  };
  int64_t targets = 0;
  for (const auto& batch : micro_batches) targets += inputs.objective.targets(batch);
  // A step that holds no target at all has no loss of its own, only balance terms.
  const double count = std::max(1.0, over_all_ranks(static_cast<double>(targets)));

  Totals totals;
  double task_loss = 0, balance_loss = 0;  // of this rank; of all ranks
  for (const auto& on_host : micro_batches) {
    const data::Batch batch = objectives::on_device(on_host, device);
    models::ForwardContext context;
    context.training = true;
    context.random = random;
    context.compute = inputs.compute;
    context.recompute = inputs.recompute;
    context.counts_so_far = totals.counts();
    const models::ModelOutput out = inputs.model.forward(batch.inputs, context);
    const Tensor task =
        inputs.objective.forward(inputs.model, out, batch, inputs.compute).loss / count;
    const Tensor balance = out.balance_loss() / static_cast<double>(micro_batches.size());
    (task + balance).backward();
    task_loss += task.item<double>();
    balance_loss += balance.item<double>();
    totals.add(out, static_cast<int64_t>(micro_batches.size()), inputs.count_tokens);
  }
  parallel::reduce_gradients(parameters, inputs.group);
  if (inputs.frozen) inputs.frozen->clear_gradients();
  for (Tensor& tokens_E : totals.tokens_) inputs.group.all_reduce(tokens_E);

  StepResult result;
  result.task_loss = over_all_ranks(task_loss);
  result.loss = result.task_loss + balance_loss;
  result.balance = totals.terms_;
  result.layers = totals.layers_;
  result.expert_tokens = totals.tokens_;
  result.gradient_norm = gradient_norm(parameters, inputs.group);
  result.finite = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
  return result;
}

}  // namespace moe::train
