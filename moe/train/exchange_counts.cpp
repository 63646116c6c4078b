// X ranks that share the experts of a layer.
#include <algorithm>

#include <moe/layers/moe_layer.h>
#include <moe/train/exchange_counts.h>

namespace moe::train {

namespace {

/// The layer's entry, which is made where there is none.
LayerExchange& entry_of(std::vector<LayerExchange>& layers, int64_t layer) {
  const auto found = std::ranges::find(layers, layer, &LayerExchange::layer);
  if (found != layers.end()) return *found;
  layers.push_back({.layer = layer});
  return layers.back();
}

}  // namespace

ExchangeCounts::ExchangeCounts(const models::Model& model, at::ScalarType type,
                               parallel::RowFormat format,
                               std::map<int64_t, cluster::PredictedRows> predicted)
    : predicted_(std::move(predicted)) {
  const auto blocks = model.blocks();
  for (size_t i = 0; i < blocks.size(); ++i)
    if (const auto* mixture = blocks[i]->feed_forward().mixture())
      row_bytes_[static_cast<int64_t>(i)] =
          parallel::row_bytes(mixture->options().d_model, type, format);
}

void ExchangeCounts::add(int64_t step, const std::vector<LayerLoad>& layers) {
  summary_.last_step = step;
  for (const auto& load : layers) {
    if (!load.rows_X2.defined()) continue;
    LayerExchange& layer = entry_of(summary_.layers, load.layer);
    const Tensor rows_X2 = load.rows_X2.to(at::kCPU, at::kDouble).contiguous();
    const double* const rows = rows_X2.const_data_ptr<double>();
    const auto X = static_cast<size_t>(rows_X2.size(0) - 2);
    layer.rows_X.resize(X);
    for (size_t x = 0; x < X; ++x) layer.rows_X[x] += rows[x];
    layer.between_ranks += rows[X];
    layer.between_machines += rows[X + 1];
    layer.tokens += load.tokens;
    const auto bytes = row_bytes_.find(load.layer);
    if (bytes != row_bytes_.end()) layer.row_bytes = bytes->second;
    const auto predicted = predicted_.find(load.layer);
    if (predicted != predicted_.end()) layer.predicted = predicted->second;
  }
}

}  // namespace moe::train
