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

}  // namespace

void MetricsLog::keep_up_to(int64_t step, int64_t evaluation) {
  std::string kept;
  summary_ = {};
  if (step >= 0 && real_files().exists(path_))
    analyze::read_metrics(
        path_,
        [&](const analyze::MetricsLine& line, std::string_view text) {
          if (line.step > (line.is_evaluation ? evaluation : step)) return;
          kept.append(text) += '\n';
          summary_.add(line);
        },
        // A line torn by a crash ends what can be trusted.
        analyze::DamagedLines::kEnd);
  write_file_atomically(real_files(), path_, [&](OutputFile& out) { out.write(bytes_of(kept)); });
  if (out_.is_open()) out_.close();
  out_.open(path_, std::ios::app);
  if (board_) board_->keep_up_to(step, evaluation);
}

void MetricsLog::write(const std::string& line) {
  out_ << line << '\n' << std::flush;
  check(out_.good(), "train/metrics", "could not write to ", path_.string(),
        ". Free space on the disk, or choose another --out.");
  const auto read = analyze::parse_metrics_line(line, "the line just written");
  summary_.add(read);
  if (board_) board_->add(read);
}

void MetricsLog::text(int64_t step, std::string_view tag, std::string_view text) {
  if (board_) board_->text(step, tag, verbatim(text));
}

void MetricsLog::step(int64_t step, int64_t tokens, const StepResult& result, double lr,
                      double tokens_per_second, double seconds) {
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
             {"seconds", number(seconds)},
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
