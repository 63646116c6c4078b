#include <algorithm>

#include <moe/base/log.h>
#include <moe/data/tokenizer.h>
#include <moe/train/sources.h>

namespace moe::train {

namespace {

bool is_file(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

void add_files_of(const Value& value, const std::string& key, data::SourcePaths& out) {
  const auto* text = value.as<std::string>();
  const bool names_file = key.ends_with(".path") || key.ends_with("_file");
  if (text && names_file && !text->empty()) out.emplace(key, *text);
  if (const auto* table = value.as<Table>())
    for (const auto& [name, entry] : *table) add_files_of(entry, concat(key, '.', name), out);
  if (const auto* list = value.as<Array>())
    for (size_t i = 0; i < list->size(); ++i)
      add_files_of((*list)[i], concat(key, '[', i, ']'), out);
}

}  // namespace

data::SourcePaths source_paths(const RunOptions& options) {
  data::SourcePaths out = data::source_paths(options.data);
  if (const Table full = resolved(options); const Value* model = full.find("model"))
    add_files_of(*model, "model", out);
  return out;
}

data::SourceRecords record_sources(const RunOptions& options) {
  data::SourceRecords out;
  for (const auto& [setting, path] : source_paths(options))
    if (is_file(path)) out.emplace(setting, data::record_source(path));
  return out;
}

void check_same_tokenizer(const RunOptions& options, const Path& checkpoint) {
  const auto& domains = options.data.domains;
  if (std::ranges::none_of(domains, [](const auto& domain) { return domain.is_text(); })) return;
  constexpr uint64_t kLargestTokenizer = uint64_t{1} << 28;
  const Path file = checkpoint / data::kTokenizerFile;
  const bool has_file = real_files().exists(file);
  const std::string before = has_file ? read_file(real_files(), file, kLargestTokenizer) : "";
  const std::string own = has_file ? file.string() : "byte";
  const std::string& name = options.data.tokenizer;
  check<ConfigError>(name == "byte" || is_file(name), "config",
                     "expected data.tokenizer to be the tokenizer of ", checkpoint.string(),
                     ", found no file at '", name, "'. Set data.tokenizer to ", own, '.');
  check<ConfigError>(before == data::make_tokenizer(name)->tokenizer_json(), "config",
                     "expected data.tokenizer to be the tokenizer of ", checkpoint.string(),
                     ", got '", name, "', which differs. Set data.tokenizer to ", own, '.');
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
  for (const auto& [setting, path] : source_paths(options))
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
