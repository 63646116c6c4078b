// B batch, S sequence, T = B·S tokens in row order, N pairs, E experts, U rows.
#include <algorithm>

#include <ATen/core/grad_mode.h>

#include <moe/analyze/counts.h>
#include <moe/data/loader.h>

namespace moe::analyze {

namespace {

constexpr const char* kPlaceOfCounts = "analyze/counts";

/// A tensor of int64 or bool as contiguous memory of this machine.
Tensor readable(const Tensor& values) {
  return values.to(at::kCPU, at::kLong).contiguous();
}

/// Adds the pairs of tokens that count, row by row, behind those of earlier batches.
void add_rows(LayerCounts& layer, const Routing& routing, const Tensor& counted_BS,
              Choices choices) {
  const int64_t B = counted_BS.size(0), S = counted_BS.size(1), E = routing.num_experts;
  const Tensor offsets = readable(routing.offsets), experts_N = readable(routing.experts_N);
  const int64_t* begin = offsets.const_data_ptr<int64_t>();
  const int64_t* expert = experts_N.const_data_ptr<int64_t>();
  const int64_t* counted = counted_BS.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < B; ++b) {
    const size_t row = layer.counts_UE.size();
    layer.counts_UE.resize(row + static_cast<size_t>(E), 0);
    for (int64_t t = b * S; t < (b + 1) * S; ++t) {
      if (!counted[t]) continue;
      const int64_t end =
          choices == Choices::kFirst ? std::min(begin[t] + 1, begin[t + 1]) : begin[t + 1];
      for (int64_t n = begin[t]; n < end; ++n)
        if (expert[n] < E) ++layer.counts_UE[row + static_cast<size_t>(expert[n])];
    }
  }
}

void add_batch(RoutingCounts& out, models::LanguageModel& model, const data::Batch& batch,
               const CountOptions& options) {
  const auto parameters = model.parameters();
  const auto device = parameters.empty() ? at::Device(at::kCPU) : parameters.front().device();
  models::ForwardContext context;
  context.first_token = batch.first_token;
  if (batch.valid_BS.defined()) context.valid_BS = batch.valid_BS.to(device);
  const auto layers = model.forward(batch.input_BS.to(device), context).layers;
  check(!layers.empty(), kPlaceOfCounts,
        "expected a model with MoE layers, got a dense one. There is no routing to look at.");
  const Tensor counted_BS = readable(batch.target_BS.ne(data::kIgnoredTarget));
  out.layers.resize(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    out.layers[i].layer = layers[i].layer;
    out.layers[i].experts = layers[i].routing.num_experts;
    add_rows(out.layers[i], layers[i].routing, counted_BS, options.choices);
  }
  out.tokens += counted_BS.sum().item<int64_t>();
}

}  // namespace

RoutingCounts count_routing(models::LanguageModel& model, const data::Corpus& corpus,
                            const CountOptions& options) {
  check<ConfigError>(options.batch >= 1, kPlaceOfCounts, "expected batch >= 1, got ", options.batch,
                     '.');
  check<ConfigError>(options.max_batches >= 1 || options.max_batches == -1, kPlaceOfCounts,
                     "expected at least one batch, or -1 for all, got ", options.max_batches, '.');
  const at::NoGradGuard no_grad;
  RoutingCounts out;
  for (const auto& domain : corpus.domains()) {
    if (domain.valid.empty()) continue;
    const auto index = static_cast<int64_t>(out.domains.size());
    out.domains.push_back(domain.name);
    const int64_t S = corpus.sequence();
    const data::EvalPass pass(domain.valid, S, options.batch, options.max_batches, index);
    // The last batch is filled up with rows that hold no token of the domain: they are no units.
    const int64_t rows = (domain.valid.size() - 1 + S - 1) / S;
    for (int64_t i = 0; i < pass.batches(); ++i) {
      const int64_t B = std::min(options.batch, rows - i * options.batch);
      add_batch(out, model, pass.batch(i, {0, B}), options);
      out.domain_U.insert(out.domain_U.end(), static_cast<size_t>(B), index);
    }
  }
  check<ConfigError>(!out.domains.empty(), kPlaceOfCounts,
                     "expected validation data in some domain, got none. Set valid or valid_share "
                     "in [[data.domains]].");
  return out;
}

}  // namespace moe::analyze
