// E experts.
#include <algorithm>
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

/// (E,) share of the pairs of each expert.
std::vector<double> shares(const LayerLoad& layer) {
  const double total = layer.load_E.sum().item<double>();
  std::vector<double> out;
  for (int64_t e = 0; e < layer.load_E.size(0); ++e)
    out.push_back(total > 0 ? layer.load_E[e].item<double>() / total : 0.0);
  return out;
}

/// The numbers of a line beside the load, which a layer and a whole step have.
using Numbers = std::vector<std::pair<std::string, double>>;

Numbers numbers_of(const LayerLoad& layer) {
  const bool is_empty = layer.load_E.sum().item<double>() == 0;
  Numbers out = {{"max_over_mean", is_empty ? std::nan("") : layer.max_over_mean()},
                 {"entropy", layer.entropy()},
                 {"dropped", layer.dropped},
                 {"unused", static_cast<double>(layer.unused())}};
  if (const auto& exchange = layer.exchange)
    out.insert(out.end(), {{"exchange_cosine", exchange->forward.cosine},
                           {"exchange_error", exchange->forward.relative},
                           {"exchange_cosine_backward", exchange->backward.cosine},
                           {"exchange_error_backward", exchange->backward.relative}});
  return out;
}

Json layer_json(const LayerLoad& layer, const ExpertNews& news) {
  Json out = {{"layer", layer.layer}, {"load", shares(layer)}};
  for (const auto& [name, value] : numbers_of(layer)) out[name] = number(value);
  out["unused"] = layer.unused();
  const auto add_list = [&](const char* name, const std::vector<int64_t>& list) {
    if (!list.empty()) out[name] = list;
  };
  add_list("unused_experts", news.unused_experts);
  add_list("unused_steps", news.unused_steps);
  add_list("revived", news.revived);
  add_list("revived_from", news.revived_from);
  return out;
}

Json json_of(const StepLine& line) {
  Json balance = Json::object(), layers = Json::array();
  for (const auto& [name, value] : line.result.balance) balance[name] = number(value);
  for (size_t i = 0; i < line.result.layers.size(); ++i)
    layers.push_back(
        layer_json(line.result.layers[i], i < line.news.size() ? line.news[i] : ExpertNews()));
  return {{"step", line.step},
          {"tokens", line.tokens},
          {"loss", number(line.result.loss)},
          {"lm_loss", number(line.result.task_loss)},
          {"balance", balance},
          {"grad_norm", number(line.result.gradient_norm)},
          {"lr", line.lr},
          {"tokens_per_second", number(line.tokens_per_second)},
          {"seconds", number(line.seconds)},
          {"layers", layers}};
}

Json json_of(const EvaluationLine& line) {
  Json eval = Json::object(), domains = Json::object();
  for (const auto& [name, value] : line.result.metrics) eval[name] = number(value);
  for (const auto& set : line.result.sets) domains[set.name] = number(set.loss);
  eval["domains"] = domains;
  return {{"step", line.step}, {"eval", eval}, {"seconds", number(line.seconds)}};
}

/// Adds values in the order in which they are found when a line is read back: that of their names.
class RecordWriter {
 public:
  explicit RecordWriter(analyze::MetricsLine& record) : record_(record) {}

  void add(const std::string& name, double value) {
    record_.values.emplace_back(name, std::isfinite(value) ? value : std::nan(""));
  }
  void add(const std::string& prefix, Numbers numbers) {
    std::sort(numbers.begin(), numbers.end());
    for (const auto& [name, value] : numbers) add(prefix + name, value);
  }

 private:
  analyze::MetricsLine& record_;
};

analyze::MetricsLine record_of(const StepLine& line) {
  analyze::MetricsLine out{.step = line.step};
  RecordWriter writer(out);
  writer.add("balance.", line.result.balance);
  writer.add("grad_norm", line.result.gradient_norm);
  for (const auto& layer : line.result.layers) {
    writer.add(concat("layers.", layer.layer, '.'), numbers_of(layer));
    out.loads.emplace_back(layer.layer, shares(layer));
  }
  writer.add("", {{"loss", line.result.loss},
                  {"lr", line.lr},
                  {"seconds", line.seconds},
                  {"lm_loss", line.result.task_loss},
                  {"tokens", static_cast<double>(line.tokens)},
                  {"tokens_per_second", line.tokens_per_second}});
  return out;
}

analyze::MetricsLine record_of(const EvaluationLine& line) {
  analyze::MetricsLine out{.step = line.step, .is_evaluation = true};
  Numbers numbers = line.result.metrics;
  for (const auto& set : line.result.sets) numbers.emplace_back("domains." + set.name, set.loss);
  RecordWriter writer(out);
  writer.add("eval.", numbers);
  writer.add("seconds", line.seconds);
  return out;
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

void MetricsLog::write(const std::string& line, const analyze::MetricsLine& record) {
  out_ << line << '\n' << std::flush;
  check(out_.good(), "train/metrics", "could not write to ", path_.string(),
        ". Free space on the disk, or choose another --out.");
  summary_.add(record);
  if (board_) board_->add(record);
}

void MetricsLog::text(int64_t step, std::string_view tag, std::string_view text) {
  if (board_) board_->text(step, tag, verbatim(text));
}

void MetricsLog::step(const StepLine& step) {
  write(json_of(step).dump(), record_of(step));
}

void MetricsLog::evaluation(const EvaluationLine& evaluation) {
  write(json_of(evaluation).dump(), record_of(evaluation));
}

}  // namespace moe::train
