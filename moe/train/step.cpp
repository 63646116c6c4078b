// B batch, S sequence, V vocabulary, E experts.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/xlogy.h>
#include <ATen/ops/zeros.h>

#include <moe/models/evaluate.h>
#include <moe/parallel/gradients.h>
#include <moe/train/step.h>

namespace moe::train {

namespace {

/// Adds up what the micro-batches report.
class Totals {
 public:
  void add(const models::ModelOutput& out, int64_t micro_batches) {
    layers_.resize(out.layers.size());
    for (size_t i = 0; i < out.layers.size(); ++i) {
      const auto& report = out.layers[i].balance;
      auto& layer = layers_[i];
      layer.layer = out.layers[i].layer;
      layer.load_E = layer.load_E.defined() ? layer.load_E + report.load_E : report.load_E;
      layer.dropped += report.dropped.item<double>();
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
  std::vector<std::pair<std::string, double>> terms_;
};

}  // namespace

double LayerLoad::max_over_mean() const {
  const double mean = load_E.mean().item<double>();
  return mean > 0 ? load_E.max().item<double>() / mean : 0;
}

double LayerLoad::entropy() const {
  const double total = load_E.sum().item<double>();
  if (total == 0 || load_E.size(0) < 2) return 1;
  const Tensor share_E = load_E / total;
  return -at::xlogy(share_E, share_E).sum().item<double>() /
         std::log(static_cast<double>(load_E.size(0)));
}

int64_t LayerLoad::unused() const {
  return load_E.eq(0).sum().item<int64_t>();
}

std::pair<Tensor, Tensor> token_losses(const Tensor& logits_BSV, const Tensor& target_BS) {
  const Tensor target_T = target_BS.flatten();
  const Tensor sum = at::cross_entropy_loss(logits_BSV.flatten(0, 1), target_T, {},
                                            at::Reduction::Sum, data::kIgnoredTarget);
  return {sum, target_T.ne(data::kIgnoredTarget).sum()};
}

StepResult forward_backward(const StepInputs& inputs, const std::vector<data::Batch>& micro_batches,
                            int64_t step, const NamedTensors& parameters) {
  Tensor targets = at::zeros({}, at::kLong);
  for (const auto& batch : micro_batches) targets += batch.target_BS.ne(data::kIgnoredTarget).sum();
  inputs.group.all_reduce(targets);
  // A step whose windows hold no target at all has no token loss, only balance terms.
  const double count = std::max<double>(1, targets.item<double>());

  Totals totals;
  Tensor losses = at::zeros({2}, at::kDouble);  // token loss of this rank, balance loss of all
  for (const auto& batch : micro_batches) {
    models::ForwardContext context = models::context_of(batch);
    context.training = true;
    context.random = {inputs.seed, static_cast<uint64_t>(step), 0};
    context.compute = inputs.compute;
    context.recompute = inputs.recompute;
    context.num_domains = inputs.num_domains;
    if (inputs.num_domains > 0) context.domain_B = batch.domain_B;
    context.counts_so_far = totals.counts();
    const models::ModelOutput out = inputs.model.forward(batch.input_BS, context);
    const Tensor token_loss = token_losses(out.logits_BSV, batch.target_BS).first / count;
    const Tensor balance_loss = out.balance_loss() / static_cast<double>(micro_batches.size());
    (token_loss + balance_loss).backward();
    losses[0] += token_loss.detach().to(at::kDouble);
    losses[1] += balance_loss.detach().to(at::kDouble);
    totals.add(out, static_cast<int64_t>(micro_batches.size()));
  }
  parallel::reduce_gradients(parameters, inputs.group);

  StepResult result;
  Tensor token_loss = losses[0].clone();
  inputs.group.all_reduce(token_loss);
  result.lm_loss = token_loss.item<double>();
  result.loss = result.lm_loss + losses[1].item<double>();
  result.balance = totals.terms_;
  result.layers = totals.layers_;
  result.gradient_norm = gradient_norm(parameters, inputs.group, inputs.sinks);
  result.finite = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
  return result;
}

}  // namespace moe::train
