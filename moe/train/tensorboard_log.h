#pragma once
// What a run logs, for TensorBoard. E experts.

#include <memory>
#include <string>
#include <string_view>

#include <moe/analyze/metrics_file.h>
#include <moe/formats/event_file.h>

namespace moe::train {

/// Writes the lines of metrics.jsonl as events, in two runs of TensorBoard below one folder, so
/// that it draws the losses of both into one picture:
///   train/  every step: "loss", "lm_loss", "balance/NAME", "entropy/layer_I", …, and per layer
///   the
///           histogram "load/layer_I": the share of the pairs over the number of the expert
///   valid/  every evaluation: "lm_loss", "perplexity" and what else the objective reports,
///   "domains/NAME"
/// Every event is on its way to the disk when the call returns. Throws moe::Error when the disk is
/// full.
class TensorBoardLog {
 public:
  explicit TensorBoardLog(const Path& folder, FileSystem& files = real_files());
  ~TensorBoardLog();

  /// Makes readers forget steps after `step` and evaluations after `evaluation`; -1: all. To be
  /// called before the first event, and when a run goes back.
  void keep_up_to(int64_t step, int64_t evaluation);
  void add(const analyze::MetricsLine& line);
  /// Markdown, in train/.
  void text(int64_t step, std::string_view tag, std::string_view text);

 private:
  FileSystem& files_;
  Path folder_;
  std::unique_ptr<formats::EventFile> train_, valid_;
};

/// `text` as it stands, in Markdown.
std::string verbatim(std::string_view text);

}  // namespace moe::train
