#pragma once

#include <string>

namespace moe {

/// Date and time of day as results show them: "2026-12-01 05:41 UTC".
std::string date_now();

}  // namespace moe
