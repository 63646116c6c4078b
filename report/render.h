#pragma once

#include <report/data.h>

namespace moe::report {

/// The whole page: one file of HTML that loads nothing. Readable without JavaScript; with it,
/// charts and text answer to pointer and keyboard. All text of `data` is escaped.
std::string render(const ReportData& data);

}  // namespace moe::report
