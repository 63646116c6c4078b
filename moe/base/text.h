#pragma once
// Numbers and the machine as people read them.

#include <cstdint>
#include <string>

namespace moe {

/// 1234567 -> "1,234,567".
std::string grouped(int64_t number);

/// Seconds, rounded to whole ones: "1:02:03", "2:03".
std::string clock_text(double seconds);

/// What is computed on: the processor's name as the system gives it; "unknown" where it does not.
std::string cpu_name();

}  // namespace moe
