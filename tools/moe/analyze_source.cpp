#include "tools/moe/analyze_source.h"

#include <ATen/Parallel.h>

#include <moe/analyze/trace_file.h>
#include <moe/checkpoint/checksum.h>
#include <moe/checkpoint/manifest.h>
#include <moe/data/source_record.h>
#include <moe/models/load.h>

#include "tools/moe/common.h"

namespace moe::tools {

namespace {

constexpr uint64_t kLargestManifest = uint64_t{64} << 20;

AnalyzeSource open_trace(const std::string& path, const SourceOptions& options) {
  check<ConfigError>(options.settings.empty(), "analyze", "expected no --set for the trace ", path,
                     ", got ", join(options.settings),
                     ". A trace has its data in it: name the run instead.");
  check<ConfigError>(!options.top_k, "analyze", "expected no --set-moe for the trace ", path,
                     ", got top_k=", options.top_k.value_or(0),
                     ". A trace has its routing in it: name the run instead.");
  auto file = std::make_shared<const analyze::TraceFile>(analyze::TraceFile::open(path));
  AnalyzeSource out;
  out.info = file->info();
  out.tokenizer = file->tokenizer();
  out.rows = [file](const analyze::RowOptions& options, const analyze::TakeRows& take) {
    file->rows(options, take);
  };
  return out;
}

AnalyzeSource open_run(const std::string& path, const SourceOptions& options) {
  models::LoadOptions load;
  load.verify = options.verify;
  load.top_k = options.top_k;
  auto loaded = models::load(path, load);
  apply_settings(loaded.config, options.settings);
  const auto read_by_run = models::data_options_of(loaded);
  data::warn_of_changed_sources(read_by_run, loaded.folder);
  const auto corpus = std::make_shared<const data::Corpus>(read_by_run, at::get_num_threads());
  const Path manifest = loaded.folder / checkpoint::kManifestName;
  AnalyzeSource out;
  out.info = {.domains = analyze::validated_domains(*corpus),
              .sequence = corpus->sequence(),
              .vocabulary = loaded.model->traits().vocabulary,
              .tokenizer = corpus->tokenizer()->name(),
              .tokenizer_json = corpus->tokenizer()->tokenizer_json(),
              .model = loaded.folder.string(),
              .step = loaded.step,
              .checksum = checkpoint::checksum_text(
                  checkpoint::checksum_of(read_file(real_files(), manifest, kLargestManifest)))};
  out.tokenizer = corpus->tokenizer();
  if (const auto run = run_of_checkpoint(loaded.folder)) out.metrics = *run / "metrics.jsonl";
  out.rows = [model = loaded.model, corpus](const analyze::RowOptions& options,
                                            const analyze::TakeRows& take) {
    analyze::route_rows(*model, *corpus, options, take);
  };
  return out;
}

}  // namespace

std::optional<Path> run_of_checkpoint(const Path& checkpoint) {
  // RUN/checkpoints/step-NNNNNN, perhaps with a slash at its end.
  const Path run = (std::filesystem::absolute(checkpoint) / ".." / "..").lexically_normal();
  return real_files().exists(run / "metrics.jsonl") ? std::optional(run) : std::nullopt;
}

AnalyzeSource open_source(const std::string& path, const SourceOptions& options) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) ? open_trace(path, options)
                                                       : open_run(path, options);
}

}  // namespace moe::tools
