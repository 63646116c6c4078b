#include <charconv>
#include <cstdio>
#include <map>

#include <moe/base/error.h>
#include <moe/base/log.h>
#include <moe/checkpoint/manifest.h>
#include <moe/checkpoint/steps.h>

namespace moe::checkpoint {

namespace {

constexpr std::string_view kStepPrefix = "step-";

/// The step of a step folder, also of one that a crash left under its ".old-" name.
std::optional<uint64_t> parse_either(std::string_view name) {
  if (name.starts_with(kOldPrefix)) name.remove_prefix(kOldPrefix.size());
  return parse_step(name);
}

/// Names in `checkpoints` by step, newest first: step folders, and ".old-" ones whose step folder
/// is gone.
std::map<uint64_t, std::string, std::greater<>> steps_in(const Path& checkpoints,
                                                         FileSystem& files) {
  std::map<uint64_t, std::string, std::greater<>> steps;
  const auto kind = files.kind(checkpoints);
  if (kind != FileKind::kFolder && kind != FileKind::kLink) return steps;
  for (const auto& name : files.list(checkpoints)) {
    if (const auto step = parse_step(name))
      steps[*step] = name;
    else if (const auto old = parse_either(name))
      steps.try_emplace(*old, name);
  }
  return steps;
}

/// Renamed first, so that nobody meets a step folder with half of its files.
void remove_step(const Path& checkpoints, const std::string& name, FileSystem& files) {
  const bool old = name.starts_with(kOldPrefix);
  const Path doomed =
      checkpoints / concat(kTemporaryPrefix, old ? name.substr(kOldPrefix.size()) : name);
  if (files.exists(doomed)) {
    files.sync_folder(checkpoints);  // it may be what an unsynced exchange replaced
    remove_all(files, doomed);
  }
  files.rename(checkpoints / name, doomed);
  files.sync_folder(checkpoints);
  remove_all(files, doomed);
}

}  // namespace

std::string step_folder(uint64_t step) {
  char text[32];
  std::snprintf(text, sizeof text, "step-%06llu", static_cast<unsigned long long>(step));
  return text;
}

std::optional<uint64_t> parse_step(std::string_view name) {
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  uint64_t step = 0;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + kStepPrefix.size(), end, step);
  if (parsed.ec != std::errc() || step_folder(step) != name) return std::nullopt;
  return step;
}

std::vector<Path> step_folders(const Path& checkpoints, FileSystem& files) {
  std::vector<Path> out;
  for (const auto& [step, name] : steps_in(checkpoints, files)) out.push_back(checkpoints / name);
  return out;
}

uint64_t step_of(const Path& folder) {
  const auto step = parse_either(folder.filename().string());
  check(step.has_value(), "checkpoint/steps", "expected a folder of a step, got '", folder.string(),
        "'. Name one as step_folder does.");
  return *step;
}

std::optional<Path> latest_checkpoint(const Path& checkpoints, FileSystem& files,
                                      const std::function<bool(uint64_t step)>& wanted) {
  for (const auto& folder : step_folders(checkpoints, files)) {
    if (wanted && !wanted(step_of(folder))) continue;
    try {
      verify_manifest(folder, files);
      return folder;
    } catch (const Error& error) {
      log::warn(concat("passing over a damaged checkpoint: ", error.what()));
    }
  }
  return std::nullopt;
}

std::vector<std::string> prune(const Path& checkpoints, size_t keep,
                               const std::set<std::string>& protect, FileSystem& files) {
  check<ConfigError>(keep > 0, "checkpoint/steps",
                     "expected to keep at least 1 checkpoint, got 0. Raise the number to keep.");
  std::vector<std::string> removed;
  size_t whole = 0;
  for (const auto& [step, name] : steps_in(checkpoints, files)) {
    if (whole < keep) {
      try {
        check_sizes(checkpoints / name, files);
        ++whole;
      } catch (const Error& error) {
        log::warn(concat("a damaged checkpoint does not count among those kept: ", error.what()));
      }
      continue;
    }
    if (protect.contains(name) || !parse_step(name)) continue;
    remove_step(checkpoints, name, files);
    removed.push_back(name);
  }
  return removed;
}

std::vector<std::string> remove_behind(const Path& checkpoints, uint64_t step, FileSystem& files) {
  std::vector<std::string> removed;
  for (const auto& [found, name] : steps_in(checkpoints, files)) {
    if (found <= step) break;  // newest first
    remove_step(checkpoints, name, files);
    removed.push_back(name);
  }
  return removed;
}

}  // namespace moe::checkpoint
