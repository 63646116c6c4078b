#pragma once
// The folder of a run's checkpoints: step-000100, step-000200, … and what to keep of them.

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <moe/base/files.h>

namespace moe::checkpoint {

inline constexpr std::string_view kTemporaryPrefix = ".tmp-";  // being written, or being removed
inline constexpr std::string_view kOldPrefix = ".old-";        // being replaced

/// "step-000123"; more digits from a million on.
std::string step_folder(uint64_t step);
/// The step of a name that step_folder makes, or nothing.
std::optional<uint64_t> parse_step(std::string_view name);

/// The step folders in `checkpoints`, newest first, whatever is in them; also those that a crash
/// left under their ".old-" name in mid-replacement. None when there is no such folder.
std::vector<Path> step_folders(const Path& checkpoints, FileSystem& files = real_files());

/// The step of a folder that step_folders gives.
uint64_t step_of(const Path& folder);

/// The newest step folder in `checkpoints` whose step `wanted` accepts (empty: any) and that
/// verifies with all its content; warns about each damaged one that it passes over. Nothing when
/// there is none, or no such folder.
std::optional<Path> latest_checkpoint(const Path& checkpoints, FileSystem& files = real_files(),
                                      const std::function<bool(uint64_t step)>& wanted = {});

/// Removes step folders but the newest `keep` whole ones (by manifest and file sizes), those named
/// in `protect`, and anything newer than the oldest kept. Returns the names removed. A crash leaves
/// no step folder half removed. Throws ConfigError when `keep` is 0.
std::vector<std::string> prune(const Path& checkpoints, size_t keep,
                               const std::set<std::string>& protect = {},
                               FileSystem& files = real_files());

/// Removes every step folder behind `step`, as prune removes; returns their names.
std::vector<std::string> remove_behind(const Path& checkpoints, uint64_t step,
                                       FileSystem& files = real_files());

}  // namespace moe::checkpoint
