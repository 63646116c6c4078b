// B batch, S sequence, T tokens in row order, N pairs, E experts, U rows.
#include <algorithm>
#include <span>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/xlogy.h>

#include <moe/analyze/routed_rows.h>
#include <moe/data/loader.h>
#include <moe/models/evaluate.h>

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

/// Rows of `width` numbers of the tokens `kept_T`, in order.
std::vector<float> kept_rows(const Tensor& values, int64_t width, const std::vector<bool>& kept_T) {
  std::vector<float> out;
  if (!values.defined()) return out;
  const Tensor plain = readable(values, at::kFloat);
  const float* from = plain.const_data_ptr<float>();
  for (const bool kept : kept_T) {
    if (kept) out.insert(out.end(), from, from + width);
    from += width;
  }
  return out;
}

LayerPairs pairs_of(const models::LayerReport& report, const std::vector<bool>& kept_T,
                    bool logits) {
  const Routing& routing = report.routing;
  const int64_t E = routing.num_experts;
  LayerPairs out{.layer = report.layer, .experts = E, .offset_T = {0}};
  out.weight_on_input = routing.weight_on_input;
  const Tensor offsets = readable(routing.offsets, at::kLong);
  const Tensor experts_N = readable(routing.experts_N, at::kLong);
  const Tensor weights_N = readable(routing.weights_N, at::kFloat);
  const int64_t* begin = offsets.const_data_ptr<int64_t>();
  const int64_t* expert = experts_N.const_data_ptr<int64_t>();
  const float* weight = weights_N.const_data_ptr<float>();
  for (size_t t = 0; t < kept_T.size(); ++t) {
    if (!kept_T[t]) continue;
    for (int64_t n = begin[t]; n < begin[t + 1]; ++n) {
      const bool dropped = expert[n] == E;
      out.expert_N.push_back(dropped ? -1 : static_cast<int32_t>(expert[n]));
      out.weight_N.push_back(dropped ? 0 : weight[n]);
    }
    out.offset_T.push_back(static_cast<int64_t>(out.expert_N.size()));
  }
  if (routing.scores_TE.defined())
    out.score_entropy_T = kept_rows(score_entropy(routing.scores_TE), 1, kept_T);
  if (logits) out.logits_TE = kept_rows(routing.logits_TE, E, kept_T);
  return out;
}

/// The rows of `batch` and what `model` does with them.
RoutedRows route_batch(models::LanguageModel& model, const data::Batch& batch, int64_t domain,
                       bool logits) {
  const auto parameters = model.parameters();
  const auto device = parameters.empty() ? at::Device(at::kCPU) : parameters.front().device();
  const auto layers =
      model.forward(batch.input_BS.to(device), models::context_of(batch, device)).layers;
  check(!layers.empty(), kPlaceOfRoutedRows,
        "expected a model with MoE layers, got a dense one. There is no routing to look at.");

  const int64_t B = batch.input_BS.size(0), S = batch.input_BS.size(1);
  const Tensor valid_BS = batch.valid_BS.defined() ? readable(batch.valid_BS, at::kBool) : Tensor();
  const int64_t* input = batch.input_BS.const_data_ptr<int64_t>();
  const int64_t* target = batch.target_BS.const_data_ptr<int64_t>();
  RoutedRows out{.domain = domain, .sequence = S};
  std::vector<bool> kept_T;
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t s = 0; s < S; ++s) {
      const int64_t t = b * S + s;
      kept_T.push_back(!valid_BS.defined() || valid_BS.const_data_ptr<bool>()[t]);
      if (!kept_T.back()) continue;
      out.token_T.push_back(static_cast<int32_t>(input[t]));
      out.position_T.push_back(static_cast<int32_t>(s));
      out.counted_T.push_back(target[t] != data::kIgnoredTarget);
    }
    out.row_begin_U.push_back(out.tokens());
  }
  for (const auto& layer : layers) out.layers.push_back(pairs_of(layer, kept_T, logits));
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

void route_rows(models::LanguageModel& model, const data::Corpus& corpus, const RowOptions& options,
                const TakeRows& take) {
  options.validate();
  const at::NoGradGuard no_grad;
  int64_t index = 0;
  for (const auto& domain : corpus.domains()) {
    if (domain.valid.empty()) continue;
    const int64_t S = corpus.sequence();
    const data::EvalPass pass(domain.valid, S, options.batch, options.max_batches, index);
    // The last batch is filled up with rows that hold no token of the domain: they are no units.
    for (int64_t i = 0; i < pass.batches(); ++i) {
      const int64_t B = std::min(options.batch, pass.rows() - i * options.batch);
      take(route_batch(model, pass.batch(i, {0, B}), index, options.logits));
    }
    ++index;
  }
}

}  // namespace moe::analyze
