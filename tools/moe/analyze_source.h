#pragma once
// What `moe analyze` looks at: a run, whose model it has to run, or a trace of one.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <moe/analyze/routed_rows.h>
#include <moe/analyze/trace_writer.h>

namespace moe::tools {

struct AnalyzeSource {
  analyze::TraceInfo info;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  /// metrics.jsonl of the run, if there is one.
  std::optional<Path> metrics;
  /// Hands on rows as options say.
  std::function<void(const analyze::RowOptions& options, const analyze::TakeRows& take)> rows;
};

/// How a run or checkpoint is opened; a trace has everything in it.
struct SourceOptions {
  /// Those of --set, for a run's data.
  std::vector<std::string> settings;
  std::optional<int64_t> top_k = {};
  bool verify = true;
};

/// A file is a trace, a folder a run or checkpoint. Throws ConfigError for settings and top_k
/// beside a trace.
AnalyzeSource open_source(const std::string& path, const SourceOptions& options);

/// The run whose checkpoint this folder is: where its metrics.jsonl stands. Nothing for a
/// checkpoint that was copied elsewhere.
std::optional<Path> run_of_checkpoint(const Path& checkpoint);

}  // namespace moe::tools
