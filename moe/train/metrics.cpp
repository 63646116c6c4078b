#include <cmath>

#include <nlohmann/json.hpp>

#include <moe/train/metrics.h>

namespace moe::train {

namespace {

using Json = nlohmann::ordered_json;

/// JSON has no NaN and no infinity: null stands for both.
Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json layer_json(const LayerLoad& layer) {
  const double total = layer.load_E.sum().item<double>();
  Json load = Json::array();
  for (int64_t e = 0; e < layer.load_E.size(0); ++e)
    load.push_back(total > 0 ? layer.load_E[e].item<double>() / total : 0.0);
  return {{"layer", layer.layer},
          {"load", load},
          {"max_over_mean", number(layer.max_over_mean())},
          {"entropy", number(layer.entropy())},
          {"dropped", layer.dropped},
          {"unused", layer.unused()}};
}

/// The lines of `text` that speak of steps up to `step` and of evaluations up to `evaluation`; a
/// line torn by a crash ends them.
std::string lines_up_to(const std::string& text, int64_t step, int64_t evaluation) {
  std::string kept;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    const std::string line = text.substr(begin, end - begin);
    const Json object = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer())
      break;
    const int64_t last = object.contains("eval") ? evaluation : step;
    if (object["step"].get<int64_t>() <= last) kept += line + '\n';
    begin = end + 1;
  }
  return kept;
}

}  // namespace

void MetricsLog::keep_up_to(int64_t step, int64_t evaluation) {
  std::string kept;
  if (step >= 0 && real_files().exists(path_))
    kept = lines_up_to(read_file(real_files(), path_, 1u << 30), step, evaluation);
  write_file_atomically(real_files(), path_, [&](OutputFile& out) { out.write(bytes_of(kept)); });
  if (out_.is_open()) out_.close();
  out_.open(path_, std::ios::app);
}

void MetricsLog::write(const std::string& line) {
  out_ << line << '\n' << std::flush;
  check(out_.good(), "train/metrics", "could not write to ", path_.string(),
        ". Free space on the disk, or choose another --out.");
}

void MetricsLog::step(int64_t step, int64_t tokens, const StepResult& result, double lr,
                      double tokens_per_second) {
  Json balance = Json::object(), layers = Json::array();
  for (const auto& [name, value] : result.balance) balance[name] = number(value);
  for (const auto& layer : result.layers) layers.push_back(layer_json(layer));
  write(Json{{"step", step},
             {"tokens", tokens},
             {"loss", number(result.loss)},
             {"lm_loss", number(result.lm_loss)},
             {"balance", balance},
             {"grad_norm", number(result.gradient_norm)},
             {"lr", lr},
             {"tokens_per_second", number(tokens_per_second)},
             {"layers", layers}}
            .dump());
}

void MetricsLog::evaluation(int64_t step, const EvalResult& result, double seconds) {
  Json domains = Json::object();
  for (const auto& domain : result.domains) domains[domain.name] = number(domain.loss);
  const Json eval = {{"loss", number(result.loss)},
                     {"perplexity", number(result.perplexity)},
                     {"domains", domains}};
  write(Json{{"step", step}, {"eval", eval}, {"seconds", number(seconds)}}.dump());
}

}  // namespace moe::train
