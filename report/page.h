#pragma once
// What every page has around its sections.

#include <string>
#include <utility>
#include <vector>

namespace moe::report {

/// A whole HTML document that loads nothing: style, script, a bar with links to `sections` (id and
/// name), `content`. Title and names are text.
std::string page(const std::string& title,
                 const std::vector<std::pair<std::string, std::string>>& sections,
                 const std::string& content);

}  // namespace moe::report
