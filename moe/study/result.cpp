// E experts.
#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include <moe/base/error.h>
#include <moe/formats/strict_json.h>
#include <moe/study/result.h>

namespace moe::study {

namespace {

using ResultJson = nlohmann::ordered_json;

void add_layer(LayerFigures& sum, const analyze::LoggedLayer& layer, double tokens) {
  sum.layer = layer.layer;
  sum.max_over_mean += layer.max_over_mean;
  sum.entropy += layer.entropy;
  sum.unused += layer.unused;
  sum.dropped += layer.dropped / tokens;
  sum.load_E.resize(layer.load_E.size());
  for (size_t e = 0; e < layer.load_E.size(); ++e) sum.load_E[e] += layer.load_E[e];
}

void divide(LayerFigures& sum, double count) {
  for (double* value : {&sum.max_over_mean, &sum.entropy, &sum.unused, &sum.dropped})
    *value /= count;
  for (double& load : sum.load_E) load /= count;
}

std::vector<LayerFigures> late_layers(const std::vector<analyze::LoggedStep>& steps) {
  std::vector<LayerFigures> out;
  const size_t first = steps.size() - std::max<size_t>(steps.size() / 4, 1);
  const double step_tokens =
      static_cast<double>(steps.back().tokens) / static_cast<double>(steps.back().step);
  double count = 0;
  for (size_t i = first; i < steps.size(); ++i) {
    if (steps[i].layers.empty()) continue;
    out.resize(steps[i].layers.size());
    for (size_t l = 0; l < out.size(); ++l) add_layer(out[l], steps[i].layers[l], step_tokens);
    ++count;
  }
  for (auto& layer : out) divide(layer, count);
  return out;
}

/// null for what is not finite: JSON has no way to write it.
ResultJson number(double value) {
  return std::isfinite(value) ? ResultJson(value) : ResultJson(nullptr);
}

double number_of(const nlohmann::json& value) {
  return value.is_null() ? analyze::kNotLogged : value.get<double>();
}

RunResult result_of(const nlohmann::json& json) {
  RunResult out;
  out.variant = json.at("variant").get<std::string>();
  out.seed = json.at("seed").get<int64_t>();
  out.failure = json.at("failure").get<std::string>();
  out.steps = json.at("steps").get<int64_t>();
  out.tokens = json.at("tokens").get<int64_t>();
  out.loss = number_of(json.at("loss"));
  for (const auto& point : json.at("losses"))
    out.losses.push_back(
        {point.at(0).get<int64_t>(), number_of(point.at(1)), number_of(point.at(2))});
  for (const auto& [name, loss] : json.at("domains").items())
    out.domains.emplace_back(name, number_of(loss));
  out.seconds = number_of(json.at("seconds"));
  out.cpu_seconds = number_of(json.at("cpu_seconds"));
  out.tokens_per_second = number_of(json.at("tokens_per_second"));
  out.peak_bytes = json.at("peak_bytes").get<int64_t>();
  for (const auto& layer : json.at("layers")) {
    LayerFigures figures{.layer = layer.at("layer").get<int64_t>(),
                         .max_over_mean = number_of(layer.at("max_over_mean")),
                         .entropy = number_of(layer.at("entropy")),
                         .unused = number_of(layer.at("unused")),
                         .dropped = number_of(layer.at("dropped")),
                         .load_E = {}};
    for (const auto& load : layer.at("load")) figures.load_E.push_back(number_of(load));
    out.layers.push_back(std::move(figures));
  }
  for (const auto& point : json.at("crowding"))
    out.crowding.push_back({point.at(0).get<int64_t>(), number_of(point.at(1))});
  return out;
}

}  // namespace

double median_of(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return analyze::kNotLogged;
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

RunResult figures_of(const analyze::RunLog& log) {
  RunResult out;
  out.losses = log.loss_points();
  check(!out.losses.empty(), "study",
        "expected evaluations in a run, found none. Give the data a part that validates.");
  out.loss = out.losses.back().loss;
  out.domains = log.evaluations.back().domains;
  out.steps = log.last_step();
  std::vector<double> rates;
  for (const auto& step : log.steps) {
    out.tokens = step.tokens;
    out.seconds = step.seconds;
    rates.push_back(step.tokens_per_second);
    double worst = analyze::kNotLogged;
    for (const auto& layer : step.layers) worst = std::fmax(worst, layer.max_over_mean);
    if (!step.layers.empty()) out.crowding.push_back({step.step, worst});
  }
  out.tokens_per_second = median_of(std::move(rates));
  if (!log.steps.empty()) out.layers = late_layers(log.steps);
  return out;
}

std::string write_result(const RunResult& result) {
  ResultJson losses = ResultJson::array(), domains = ResultJson::object(),
             layers = ResultJson::array(), crowding = ResultJson::array();
  for (const auto& p : result.losses) losses.push_back({p.step, number(p.seconds), number(p.loss)});
  for (const auto& [name, loss] : result.domains) domains[name] = number(loss);
  for (const auto& layer : result.layers) {
    ResultJson load = ResultJson::array();
    for (const double share : layer.load_E) load.push_back(number(share));
    layers.push_back({{"layer", layer.layer},
                      {"max_over_mean", number(layer.max_over_mean)},
                      {"entropy", number(layer.entropy)},
                      {"unused", number(layer.unused)},
                      {"dropped", number(layer.dropped)},
                      {"load", std::move(load)}});
  }
  for (const auto& point : result.crowding)
    crowding.push_back({point.step, number(point.max_over_mean)});
  const ResultJson out = {{"variant", result.variant},
                          {"seed", result.seed},
                          {"failure", result.failure},
                          {"steps", result.steps},
                          {"tokens", result.tokens},
                          {"loss", number(result.loss)},
                          {"losses", std::move(losses)},
                          {"domains", std::move(domains)},
                          {"seconds", number(result.seconds)},
                          {"cpu_seconds", number(result.cpu_seconds)},
                          {"tokens_per_second", number(result.tokens_per_second)},
                          {"peak_bytes", result.peak_bytes},
                          {"layers", std::move(layers)},
                          {"crowding", std::move(crowding)}};
  return out.dump(1, ' ', false, ResultJson::error_handler_t::replace) + "\n";
}

RunResult parse_result(std::string_view json, const std::string& source) {
  const auto document = formats::parse_strict_json(json, "study", source);
  try {
    return result_of(document);
  } catch (const nlohmann::json::exception& error) {
    fail("study", "expected the result of a run in ", source, ": ", formats::problem_of(error),
         ". Remove the file, so that the run is made anew.");
  }
}

}  // namespace moe::study
