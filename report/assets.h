#pragma once
// report.css and report.js, which CMake puts into the library.

#include <string_view>

namespace moe::report {

extern const std::string_view kStyle;
extern const std::string_view kScript;

}  // namespace moe::report
