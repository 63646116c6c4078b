#pragma once
// Messages for people, on standard error. Progress lines that are redrawn in place live in
// train/progress.

#include <string_view>

namespace moe::log {

/// Writes "text\n".
void info(std::string_view text);
/// Writes "warning: text\n".
void warn(std::string_view text);
/// Silences info; warnings stay.
void set_quiet(bool quiet);
/// Silences warnings and redrawn lines too: of several processes that do the same, one speaks.
void set_silent(bool silent);
/// True when standard error is a terminal, so that a line may be redrawn.
bool is_terminal();
/// Replaces the line drawn last (terminal only). An empty text erases it. Info and warnings keep it
/// below them.
void status_line(std::string_view text);

}  // namespace moe::log
