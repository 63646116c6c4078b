// B batch, S sequence, T tokens in row order, N pairs, E experts, U rows.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/xlogy.h>

#include <moe/analyze/routed_rows.h>
#include <moe/data/loader.h>

namespace moe::analyze {

namespace {

constexpr const char* kPlaceOfRoutedRows = "analyze/rows";

/// `values` as contiguous memory of this machine.
Tensor readable(const Tensor& values, at::ScalarType type) {
  return values.detach().to(at::kCPU, type).contiguous();
}

/// (T,) entropy of scores_TE over their sum, in nats.
Tensor score_entropy(const Tensor& scores_TE) {
  const Tensor scores = scores_TE.detach().to(at::kDouble);
  const Tensor shares_TE = scores / scores.sum(1, /*keepdim=*/true);
  return -at::xlogy(shares_TE, shares_TE).sum(1);
}

/// The numbers of `values`, in row order; none where it is undefined.
std::vector<float> numbers_of(const Tensor& values) {
  if (!values.defined()) return {};
  const Tensor plain = readable(values, at::kFloat);
  const float* begin = plain.const_data_ptr<float>();
  return {begin, begin + plain.numel()};
}

LayerPairs pairs_of(const LayerReport& report, bool logits) {
  const Routing& routing = report.routing;
  const int64_t E = routing.num_experts;
  LayerPairs out{.layer = report.layer, .experts = E};
  out.weight_on_input = routing.weight_on_input;
  const Tensor offsets = readable(routing.offsets, at::kLong);
  const Tensor experts_N = readable(routing.experts_N, at::kLong);
  const int64_t* begin = offsets.const_data_ptr<int64_t>();
  out.offset_T.assign(begin, begin + offsets.numel());
  out.weight_N = numbers_of(routing.weights_N);
  const int64_t* expert = experts_N.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < experts_N.numel(); ++n) {
    const bool dropped = expert[n] == E;
    out.expert_N.push_back(dropped ? -1 : static_cast<int32_t>(expert[n]));
    if (dropped) out.weight_N[static_cast<size_t>(n)] = 0;
  }
  if (routing.scores_TE.defined())
    out.score_entropy_T = numbers_of(score_entropy(routing.scores_TE));
  if (logits) out.logits_TE = numbers_of(routing.logits_TE);
  return out;
}

/// The rows of `batch` and what `model` does with them.
RoutedRows route_batch(models::Model& model, const data::Batch& batch, int64_t domain,
                       int64_t sequence, bool logits) {
  const auto layers = model.forward(batch.inputs.to(model.device()), {}).layers;
  check(!layers.empty(), kPlaceOfRoutedRows,
        "expected a model with MoE layers, got a dense one. There is no routing to look at.");

  const Tensor ids_T = readable(batch.inputs.tokens.ids_T, at::kLong);
  const Tensor target_T = readable(batch.targets, at::kLong);
  const int64_t* id = ids_T.const_data_ptr<int64_t>();
  const int64_t* target = target_T.const_data_ptr<int64_t>();
  const Runs rows = batch.inputs.tokens.rows(ids_T.numel());
  RoutedRows out{.domain = domain, .sequence = sequence};
  for (int64_t u = 0; u < rows.count(); ++u) {
    for (int64_t t = rows.begin(u); t < rows.end(u); ++t) {
      out.token_T.push_back(static_cast<int32_t>(id[t]));
      out.position_T.push_back(static_cast<int32_t>(t - rows.begin(u)));
      out.counted_T.push_back(target[t] != data::kIgnoredTarget);
    }
    out.row_begin_U.push_back(out.tokens());
  }
  for (const auto& layer : layers) out.layers.push_back(pairs_of(layer, logits));
  return out;
}

}  // namespace

void RowOptions::validate() const {
  check<ConfigError>(batch >= 1, kPlaceOfRoutedRows, "expected batch >= 1, got ", batch,
                     ". Correct it.");
  check<ConfigError>(max_batches >= 1 || max_batches == -1, kPlaceOfRoutedRows,
                     "expected at least one batch, or -1 for all, got ", max_batches,
                     ". Correct it.");
}

std::vector<std::string> validated_domains(const data::Corpus& corpus) {
  std::vector<std::string> out;
  for (const auto& domain : corpus.domains())
    if (!domain.valid.empty()) out.push_back(domain.name);
  check<ConfigError>(!out.empty(), kPlaceOfRoutedRows,
                     "expected validation data in some domain, got none. Set valid or valid_share "
                     "in [[data.domains]].");
  return out;
}

void route_rows(models::Model& model, const data::Corpus& corpus, const RowOptions& options,
                const TakeRows& take) {
  options.validate();
  const at::NoGradGuard no_grad;
  int64_t index = 0;
  for (const auto& domain : corpus.domains()) {
    if (domain.valid.empty()) continue;
    const int64_t S = corpus.sequence();
    const data::EvalPass pass(domain.valid, S, options.batch, options.max_batches, index);
    for (int64_t i = 0; i < pass.batches(); ++i)
      take(route_batch(model, pass.batch(i), index, S, options.logits));
    ++index;
  }
}

}  // namespace moe::analyze
