// X ranks that share the experts of a layer.
#include <algorithm>
#include <cstdio>
#include <numeric>

#include <nlohmann/json.hpp>

#include <moe/train/exchange.h>

namespace moe::train {

namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const char* format, double value) {
  char out[32];
  std::snprintf(out, sizeof out, format, value);
  return out;
}

/// "measured (predicted)", or the first alone.
std::string beside(double measured, const std::optional<double>& predicted) {
  return text_of("%.3f", measured) +
         (predicted ? " (" + text_of("%.3f", *predicted) + ")" : std::string());
}

std::string cell(const std::string& text, size_t width) {
  return std::string(text.size() < width ? width - text.size() : 1, ' ') + text;
}

}  // namespace

double LayerExchange::busiest_rank() const {
  const double all = std::accumulate(rows_X.begin(), rows_X.end(), 0.0);
  if (all == 0) return 1;
  return *std::ranges::max_element(rows_X) / (all / static_cast<double>(rows_X.size()));
}

std::string exchange_table(const ExchangeSummary& summary) {
  if (summary.layers.empty()) return "";
  const auto steps =
      static_cast<double>(std::max<int64_t>(summary.last_step - summary.first_step, 1));
  std::string out =
      "exchange of rows, one way of the forward pass; in brackets what the placement's file "
      "predicted\nlayer  rows a token between ranks  between machines       busiest rank  MB a "
      "step "
      "between ranks  between machines";
  for (const auto& layer : summary.layers) {
    const auto& p = layer.predicted;
    const auto of = [&](double cluster::PredictedRows::*part) {
      return p ? std::optional<double>((*p).*part) : std::nullopt;
    };
    const double megabytes = static_cast<double>(layer.row_bytes) / 1e6 / steps;
    out +=
        '\n' + cell(std::to_string(layer.layer), 5) +
        cell(beside(layer.a_token(layer.between_ranks), of(&cluster::PredictedRows::between_ranks)),
             28) +
        cell(beside(layer.a_token(layer.between_machines),
                    of(&cluster::PredictedRows::between_nodes)),
             18) +
        cell(beside(layer.busiest_rank(), of(&cluster::PredictedRows::busiest_rank)), 19) +
        cell(text_of("%.4g", layer.between_ranks * megabytes), 25) +
        cell(text_of("%.4g", layer.between_machines * megabytes), 18);
  }
  return out;
}

std::string exchange_json(const ExchangeSummary& summary) {
  Json layers = Json::array();
  for (const auto& layer : summary.layers) {
    std::vector<int64_t> rows_X;
    for (const double rows : layer.rows_X) rows_X.push_back(static_cast<int64_t>(rows));
    const auto between_ranks = static_cast<int64_t>(layer.between_ranks),
               between_machines = static_cast<int64_t>(layer.between_machines);
    layers.push_back({{"layer", layer.layer},
                      {"tokens", static_cast<int64_t>(layer.tokens)},
                      {"rows_to_ranks", rows_X},
                      {"rows_between_ranks", between_ranks},
                      {"rows_between_machines", between_machines},
                      {"row_bytes", layer.row_bytes},
                      {"bytes_between_ranks", between_ranks * layer.row_bytes},
                      {"bytes_between_machines", between_machines * layer.row_bytes},
                      {"rows_a_token_between_ranks", layer.a_token(layer.between_ranks)},
                      {"rows_a_token_between_machines", layer.a_token(layer.between_machines)},
                      {"busiest_rank", layer.busiest_rank()},
                      {"predicted", nullptr}});
    if (const auto& p = layer.predicted)
      layers.back()["predicted"] = {{"rows_a_token_between_ranks", p->between_ranks},
                                    {"rows_a_token_between_nodes", p->between_nodes},
                                    {"busiest_rank", p->busiest_rank}};
  }
  return Json({{"steps", {summary.first_step, summary.last_step}}, {"layers", layers}}).dump(2) +
         '\n';
}

void write_exchange(const Path& folder, const ExchangeSummary& summary) {
  if (summary.layers.empty()) return;
  const std::string text = exchange_json(summary);
  write_file_atomically(real_files(), folder / "exchange.json",
                        [&](OutputFile& out) { out.write(bytes_of(text)); });
}

}  // namespace moe::train
