#include <algorithm>

#include <moe/base/log.h>
#include <moe/config/toml.h>
#include <moe/data/tokenizer.h>
#include <moe/models/companions.h>
#include <moe/train/sources.h>

namespace moe::train {

namespace {

bool is_file(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

}  // namespace

data::SourceRecords record_sources(const RunOptions& options) {
  data::SourceRecords out;
  for (const auto& [setting, path] : data::source_paths(options.data))
    if (is_file(path)) out.emplace(setting, data::record_source(path));
  return out;
}

std::string tokenizer_for(const RunOptions& options, const Path& checkpoint) {
  const auto& domains = options.data.domains;
  const std::string& name = options.data.tokenizer;
  if (std::ranges::none_of(domains, [](const auto& domain) { return domain.is_text(); }))
    return name;
  constexpr uint64_t kLargestTokenizer = uint64_t{1} << 28;
  const Path file = checkpoint / data::kTokenizerFile;
  const bool has_file = real_files().exists(file);
  const std::string own = has_file ? file.string() : "byte";
  if (has_file && name != "byte" && !is_file(name)) return own;
  const std::string before = has_file ? read_file(real_files(), file, kLargestTokenizer) : "";
  check<ConfigError>(name == "byte" || is_file(name), "config",
                     "expected data.tokenizer to be the tokenizer of ", checkpoint.string(),
                     ", found no file at '", name, "'. Set data.tokenizer to ", own, '.');
  check<ConfigError>(before == data::make_tokenizer(name)->tokenizer_json(), "config",
                     "expected data.tokenizer to be the tokenizer of ", checkpoint.string(),
                     ", got '", name, "', which differs. Set data.tokenizer to ", own, '.');
  return name;
}

CheckpointTexts checkpoint_texts(const RunOptions& options, const data::Dataset& dataset,
                                 const data::SourceRecords& sources,
                                 const std::optional<Path>& from) {
  CheckpointTexts out = {{kConfigFile, config::write_toml(resolved(options))},
                         {data::kSourcesFile, data::write_source_records(sources)}};
  const auto tokenizer = dataset.tokenizer();
  if (!tokenizer) return out;
  if (auto json = tokenizer->tokenizer_json(); !json.empty())
    out.emplace(data::kTokenizerFile, std::move(json));
  out.merge(from ? models::companions_of(*from)
                 : models::companions_of_run(options.data.tokenizer, options.train.init));
  return out;
}

void check_same_sources(const RunOptions& options, const data::SourceRecords& now,
                        const Path& checkpoint, const RunControls& controls) {
  const auto warn = [&](const std::string& text) {
    if (controls.group->rank() == 0) log::warn(text);
  };
  auto was = data::read_source_records(checkpoint);
  if (!was)
    return warn(concat(checkpoint.string(), " does not say what its data held (no ",
                       data::kSourcesFile, "): whether it is the same now is not checked."));
  // Files that are gone are missed by who opens them, if they are needed at all.
  for (const auto& [setting, path] : data::source_paths(options.data))
    if (!now.contains(setting)) was->erase(setting);
  const auto changed = data::source_differences(*was, now);
  if (changed.empty()) return;
  if (controls.allow_changed_data)
    return warn(concat("going on from ", checkpoint.string(),
                       " with other data than before:", indented_list(changed)));
  fail<ConfigError>("train", "expected the data that ", checkpoint.string(),
                    " was trained on, got other content for ", changed.size(),
                    changed.size() == 1 ? " setting" : " settings",
                    ". Put back what was there, or go on with what is there now: "
                    "--allow-changed-data.",
                    indented_list(changed));
}

}  // namespace moe::train
