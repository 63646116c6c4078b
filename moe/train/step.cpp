// E experts.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/xlogy.h>
#include <ATen/ops/zeros.h>

#include <moe/base/log.h>
#include <moe/base/random.h>
#include <moe/objectives/evaluate.h>
#include <moe/objectives/policy_loss.h>
#include <moe/parallel/gradients.h>
#include <moe/train/clip.h>
#include <moe/train/frozen.h>
#include <moe/train/step.h>

namespace moe::train {

namespace {

void add_sums(SumsSoFar& so_far, const BalanceReport& report) {
  so_far.tokens = so_far.tokens.defined() ? so_far.tokens + report.tokens : report.tokens;
  so_far.terms.resize(report.terms.size());
  for (size_t j = 0; j < report.terms.size(); ++j) {
    const Tensor& sums = report.terms[j].sums;
    if (sums.defined()) so_far.terms[j] = so_far.terms[j].defined() ? so_far.terms[j] + sums : sums;
  }
}

/// Adds up what the micro-batches report.
class Totals {
 public:
  void add(const models::ModelOutput& out, bool count_tokens) {
    layers_.resize(out.layers.size());
    layer_sums_.resize(out.layers.size());
    if (count_tokens) tokens_.resize(out.layers.size());
    for (size_t i = 0; i < out.layers.size(); ++i) {
      const auto& report = out.layers[i].balance;
      auto& layer = layers_[i];
      layer.layer = out.layers[i].layer;
      layer.load_E = layer.load_E.defined() ? layer.load_E + report.load_E : report.load_E;
      layer.dropped += report.dropped.item<double>();
      layer.tokens += report.tokens.item<double>();
      add_sums(layer_sums_[i], report);
      if (report.record_R.defined())
        layer.record_R =
            layer.record_R.defined() ? layer.record_R + report.record_R : report.record_R;
      if (report.rows_X2.defined())
        layer.rows_X2 = layer.rows_X2.defined() ? layer.rows_X2 + report.rows_X2 : report.rows_X2;
      if (count_tokens) {
        const Tensor reached_E = out.layers[i].routing.counts_E();
        tokens_[i] = tokens_[i].defined() ? tokens_[i] + reached_E : reached_E;
      }
      for (const auto& term : report.terms) add_term(term.name, term.value.item<double>());
    }
  }

  /// The mean of each term over the layers that have it, and over micro-batches.
  std::vector<std::pair<std::string, double>> terms() const {
    std::vector<std::pair<std::string, double>> out;
    for (const Term& term : terms_)
      out.emplace_back(term.name, term.sum / static_cast<double>(term.count));
    return out;
  }

  std::vector<Tensor> counts() const {
    std::vector<Tensor> out;
    for (const auto& layer : layers_) out.push_back(layer.load_E.to(at::kLong));
    return out;
  }

  std::vector<LayerLoad> layers_;
  std::vector<SumsSoFar> layer_sums_;
  std::vector<Tensor> tokens_;  // of this rank

 private:
  struct Term {
    std::string name;
    double sum = 0;
    int64_t count = 0;
  };

  void add_term(const std::string& name, double value) {
    auto term = std::find_if(terms_.begin(), terms_.end(),
                             [&](const Term& other) { return other.name == name; });
    if (term == terms_.end()) term = terms_.insert(terms_.end(), {name});
    term->sum += value;
    ++term->count;
  }

  std::vector<Term> terms_;
};

/// What the rows of each layer lost on their way, over all ranks.
void add_exchange_errors(std::vector<LayerLoad>& layers, const ExchangeErrors& errors,
                         parallel::Communicator& world) {
  if (errors.empty()) return;
  Tensor sums_n4 = errors.sums();
  world.all_reduce(sums_n4);
  const auto by_layer = errors.by_layer(sums_n4);
  for (auto& layer : layers)
    if (const auto found = by_layer.find(layer.layer); found != by_layer.end())
      layer.exchange = found->second;
}

using Clock = std::chrono::steady_clock;

/// Lets the number of chunks follow from what a step took.
void measure_chunks(const parallel::Layout& layout, Clock::time_point began) {
  if (!layout.exchange.chunks) return;
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  const auto choice = layout.exchange.chunks->end_step(seconds, *layout.world);
  if (!choice || !layout.leads()) return;
  char times[64];
  std::snprintf(times, sizeof times, "%.3g s a step, %.3g s", choice->seconds,
                choice->seconds_of_one);
  log::info(concat("rows travel in ", choice->chunks,
                   choice->chunks == 1 ? " chunk, as measured: " : " chunks, as measured: ", times,
                   " with 1"));
}

/// The first pass is the one that a step without consistency has.
uint64_t seed_of_pass(uint64_t seed, int64_t pass) {
  return pass == 0 ? seed : hash_name(concat("pass ", pass, " of ", seed));
}

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
  const auto began = Clock::now();
  const RandomKey random = {inputs.seed, static_cast<uint64_t>(step), 0};
  std::vector<data::Batch> micro_batches;
  for (const auto& batch : read) micro_batches.push_back(inputs.objective.prepared(batch, random));
  const auto device = inputs.model.device();
  const auto over_all_ranks = [&](double value) {
    Tensor sum = at::full({}, value, at::TensorOptions(at::kDouble).device(device));
    inputs.layout.world->all_reduce(sum);
    return sum.item<double>();
  };
  int64_t targets = 0;
  for (const auto& batch : micro_batches) targets += inputs.objective.targets(batch);
  // A step that holds no target at all has no loss of its own, only balance terms.
  const double count = std::max(1.0, over_all_ranks(static_cast<double>(targets)));

  Totals totals;
  const auto exchange_errors = std::make_shared<ExchangeErrors>();
  double task_loss = 0, balance_loss = 0;  // of this rank; of all ranks
  double divergence = 0;                   // of this rank
  const int64_t number_of_passes = inputs.consistency > 0 ? 2 : 1;
  const double shares = static_cast<double>(number_of_passes) *
                        static_cast<double>(micro_batches.size());  // of the passes of a step
  for (const auto& on_host : micro_batches) {
    const data::Batch batch = objectives::on_device(on_host, device);
    models::ForwardContext context;
    context.training = true;
    context.compute = inputs.compute;
    context.recompute = inputs.recompute;
    context.counts_so_far = totals.counts();
    context.sums_so_far = totals.layer_sums_;
    context.exchange_errors = exchange_errors;
    std::vector<models::ModelOutput> passes;
    Tensor loss = at::zeros({}, at::TensorOptions(at::kDouble).device(device));
    for (int64_t pass = 0; pass < number_of_passes; ++pass) {
      context.random = {seed_of_pass(inputs.seed, pass), random.step, 0};
      passes.push_back(inputs.model.forward(batch.inputs, context));
      const auto& out = passes.back();
      const Tensor sum = inputs.objective.forward(inputs.model, out, batch, inputs.compute).loss;
      const Tensor task = sum / (count * static_cast<double>(number_of_passes));
      const Tensor balance = out.balance_loss() / shares;
      loss = loss + task + balance;
      if (objectives::has_policy(out.layers)) {
        const double mean =
            over_all_ranks(sum.item<double>()) /
            std::max(1.0, over_all_ranks(static_cast<double>(inputs.objective.targets(on_host))));
        loss = loss + objectives::policy_loss(out.layers, mean) / shares;
      }
      task_loss += task.item<double>();
      balance_loss += balance.item<double>();
      totals.add(out, inputs.count_tokens);
    }
    if (number_of_passes == 2) {
      const Tensor apart =
          inputs.objective.divergence(inputs.model, passes[0], passes[1], batch, inputs.compute) /
          count;
      loss = loss + apart * inputs.consistency;
      divergence += apart.item<double>();
    }
    if (inputs.gradients && &on_host == &micro_batches.back()) inputs.gradients->begin();
    loss.backward();
  }
  if (inputs.gradients)
    inputs.gradients->finish();
  else
    parallel::reduce_gradients(parameters, inputs.layout);
  if (inputs.frozen) inputs.frozen->clear_gradients();
  add_exchange_errors(totals.layers_, *exchange_errors, *inputs.layout.world);
  for (Tensor& tokens_E : totals.tokens_) inputs.layout.world->all_reduce(tokens_E);

  StepResult result;
  result.task_loss = over_all_ranks(task_loss);
  result.loss = result.task_loss + balance_loss;
  result.balance = totals.terms();
  if (number_of_passes == 2) {
    result.balance.emplace_back("consistency", over_all_ranks(divergence));
    result.loss += inputs.consistency * result.balance.back().second;
  }
  result.layers = totals.layers_;
  result.expert_tokens = totals.tokens_;
  result.gradient_norm = gradient_norm(parameters, inputs.layout);
  result.finite = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
  measure_chunks(inputs.layout, began);
  return result;
}

}  // namespace moe::train
