#pragma once

#include <report/gather.h>

namespace moe::report {

/// The report of the run or comparison in `folder`, as one HTML file at `out`, which holds its old
/// content or all of the new one, whatever happens. Throws as gather does, and when `out` cannot be
/// written.
void write_report(const Path& folder, const Path& out, const GatherOptions& options = {});

/// The same into folder/report.html, after a run that must not fail for its report's sake: whatever
/// goes wrong becomes a warning. False then.
bool try_write_report(const Path& folder);

}  // namespace moe::report
