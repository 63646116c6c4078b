// E experts.
#include <chrono>
#include <vector>

#include <moe/base/error.h>
#include <moe/train/tensorboard_log.h>

namespace moe::train {

namespace {

double seconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

/// TensorBoard groups pictures by what stands before a slash. A layer's metrics are grouped by
/// metric, so that the layers stand side by side: "layers.3.entropy" -> "entropy/layer_3".
std::string tag_of(const std::string& name) {
  constexpr std::string_view kLayers = "layers.", kBalance = "balance.", kDomains = "eval.domains.",
                             kEval = "eval.";
  const auto behind = [&](std::string_view prefix) { return name.substr(prefix.size()); };
  if (name.starts_with(kLayers)) {
    const std::string rest = behind(kLayers);
    const size_t dot = rest.find('.');
    return rest.substr(dot + 1) + "/layer_" + rest.substr(0, dot);
  }
  if (name.starts_with(kBalance)) return "balance/" + behind(kBalance);
  if (name.starts_with(kDomains)) return "domains/" + behind(kDomains);
  // The loss of an evaluation has no balance terms: it belongs into the picture of task_loss.
  if (name == "eval.loss") return "lm_loss";
  return name.starts_with(kEval) ? behind(kEval) : name;
}

}  // namespace

std::string verbatim(std::string_view text) {
  std::string out = "    ";
  for (const char c : text) {
    out += c;
    if (c == '\n') out += "    ";
  }
  return out;
}

TensorBoardLog::TensorBoardLog(const Path& folder, FileSystem& files)
    : files_(files), folder_(folder) {}

TensorBoardLog::~TensorBoardLog() = default;

void TensorBoardLog::keep_up_to(int64_t step, int64_t evaluation) {
  const double now = seconds_now();
  if (!train_) train_ = std::make_unique<formats::EventFile>(files_, folder_ / "train", now);
  if (!valid_) valid_ = std::make_unique<formats::EventFile>(files_, folder_ / "valid", now);
  train_->restart(step + 1, now);
  valid_->restart(evaluation + 1, now);
}

void TensorBoardLog::add(const analyze::MetricsLine& line) {
  formats::EventSummary summary;
  for (const auto& [name, value] : line.values) summary.scalar(tag_of(name), value);
  for (const auto& [layer, load_E] : line.loads) {
    std::vector<double> edges;
    for (size_t e = 0; e <= load_E.size(); ++e) edges.push_back(static_cast<double>(e) - 0.5);
    summary.histogram(concat("load/layer_", layer), edges, load_E);
  }
  (line.is_evaluation ? valid_ : train_)->write(line.step, summary, seconds_now());
}

void TensorBoardLog::text(int64_t step, std::string_view tag, std::string_view text) {
  formats::EventSummary summary;
  summary.text(tag, text);
  train_->write(step, summary, seconds_now());
}

}  // namespace moe::train
