// V vocabulary.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <moe/base/error.h>
#include <moe/base/random.h>
#include <moe/generation/sampler.h>

namespace moe::generation {

namespace {

constexpr const char* kPlaceOfSampler = "generation/sampler";

std::vector<double> read_logits(const Tensor& logits_V) {
  check(logits_V.dim() == 1 && logits_V.size(0) > 0 && logits_V.is_floating_point(),
        kPlaceOfSampler, "expected floating logits of shape (V,), got ", logits_V.scalar_type(),
        ' ', logits_V.sizes(), ".");
  const Tensor wide_V = logits_V.detach().to(at::kCPU, at::kDouble).contiguous();
  const double* data = wide_V.const_data_ptr<double>();
  std::vector<double> out(data, data + wide_V.numel());
  for (size_t i = 0; i < out.size(); ++i)
    if (std::isnan(out[i]) || out[i] == std::numeric_limits<double>::infinity())
      fail(kPlaceOfSampler, "expected finite logits, got ", out[i], " for token ", i,
           ". The model has diverged or its precision is too low: use an earlier checkpoint, or "
           "--dtype float32.");
  check(*std::ranges::max_element(out) > -std::numeric_limits<double>::infinity(), kPlaceOfSampler,
        "expected a finite logit, got -infinity for all of ", out.size(),
        " tokens. The model has diverged: use an earlier checkpoint.");
  return out;
}

void penalise(std::vector<double>& logits, std::span<const int64_t> history, double penalty) {
  if (penalty == 1) return;
  std::vector<bool> seen(logits.size());
  for (const int64_t id : history) {
    check(id >= 0 && id < static_cast<int64_t>(logits.size()), kPlaceOfSampler,
          "expected ids in [0, V=", logits.size(), ") in the history, got ", id, ".");
    const auto i = static_cast<size_t>(id);
    if (seen[i]) continue;
    seen[i] = true;
    logits[i] = logits[i] > 0 ? logits[i] / penalty : logits[i] * penalty;
  }
}

std::vector<double> penalised_logits(const Tensor& logits_V, std::span<const int64_t> history,
                                     const SamplerOptions& options) {
  options.validate(kPlaceOfSampler);
  std::vector<double> logits = read_logits(logits_V);
  penalise(logits, history, options.repetition_penalty);
  return logits;
}

/// The first of the largest, so that ties go to the lowest id.
size_t likeliest(const std::vector<double>& logits) {
  return static_cast<size_t>(std::ranges::max_element(logits) - logits.begin());
}

double sum(const std::vector<double>& weights) {
  return std::accumulate(weights.begin(), weights.end(), 0.0);
}

/// Sets the weight of every token but the k likeliest to 0.
void keep_top_k(std::vector<double>& weights, int64_t k, const auto& likelier) {
  if (k == 0 || k >= static_cast<int64_t>(weights.size())) return;
  std::vector<size_t> order(weights.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::nth_element(order.begin(), order.begin() + k, order.end(), likelier);
  std::for_each(order.begin() + k, order.end(), [&](size_t i) { weights[i] = 0; });
}

/// Sets every weight to 0 but those of the fewest likeliest tokens that make up `p` of the sum.
void keep_top_p(std::vector<double>& weights, double p, const auto& likelier) {
  if (p >= 1) return;
  // A heap, because the few tokens that matter are found without sorting the whole vocabulary.
  std::vector<size_t> heap(weights.size());
  std::iota(heap.begin(), heap.end(), size_t{0});
  const auto less_likely = [&](size_t a, size_t b) { return likelier(b, a); };
  std::make_heap(heap.begin(), heap.end(), less_likely);
  auto rest = heap.end();
  const double enough = p * sum(weights);
  for (double kept = 0; kept < enough && rest != heap.begin();) {
    std::pop_heap(heap.begin(), rest, less_likely);
    kept += weights[*--rest];
  }
  std::for_each(heap.begin(), rest, [&](size_t i) { weights[i] = 0; });
}

}  // namespace

void SamplerOptions::validate(const std::string& place) const {
  const auto require = [&](bool ok, const char* name, const char* range, auto value) {
    check<ConfigError>(ok, place, "expected ", name, ' ', range, ", got ", value, ". Correct it.");
  };
  require(temperature >= 0 && std::isfinite(temperature), "temperature", ">= 0", temperature);
  require(top_k >= 0, "top_k", ">= 0", top_k);
  require(top_p > 0 && top_p <= 1, "top_p", "in (0, 1]", top_p);
  require(min_p >= 0 && min_p <= 1, "min_p", "in [0, 1]", min_p);
  require(repetition_penalty >= 0.001 && repetition_penalty <= 1000, "repetition_penalty",
          "in [0.001, 1000]", repetition_penalty);
}

std::vector<double> sampling_probabilities(const Tensor& logits_V, std::span<const int64_t> history,
                                           const SamplerOptions& options) {
  const std::vector<double> logits = penalised_logits(logits_V, history, options);
  const size_t best = likeliest(logits);
  std::vector<double> weights(logits.size());
  if (options.temperature == 0) {
    weights[best] = 1;
    return weights;
  }
  for (size_t i = 0; i < weights.size(); ++i)
    weights[i] = std::exp((logits[i] - logits[best]) / options.temperature);

  // By weight first: what a filter has removed comes last.
  const auto likelier = [&](size_t a, size_t b) {
    return weights[a] != weights[b] ? weights[a] > weights[b]
           : logits[a] != logits[b] ? logits[a] > logits[b]
                                    : a < b;
  };
  keep_top_k(weights, options.top_k, likelier);
  keep_top_p(weights, options.top_p, likelier);
  // The likeliest token has weight 1.
  for (double& weight : weights)
    if (weight < options.min_p) weight = 0;
  const double total = sum(weights);
  for (double& weight : weights) weight /= total;
  return weights;
}

int64_t sample(const Tensor& logits_V, std::span<const int64_t> history,
               const SamplerOptions& options, int64_t position) {
  if (options.temperature == 0)
    return static_cast<int64_t>(likeliest(penalised_logits(logits_V, history, options)));
  const auto probabilities = sampling_probabilities(logits_V, history, options);
  const RandomStream stream({.seed = static_cast<uint64_t>(options.seed)}, Purpose::kSampling);
  const double target = stream.uniform53(static_cast<uint64_t>(position)) * sum(probabilities);
  double below = 0;
  int64_t last = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] == 0) continue;
    last = static_cast<int64_t>(i);
    below += probabilities[i];
    if (below > target) break;
  }
  return last;
}

}  // namespace moe::generation
