#include <cstdio>
#include <fstream>

#include <moe/base/text.h>

namespace moe {

std::string grouped(int64_t number) {
  std::string out = std::to_string(number);
  const size_t first = number < 0 ? 1 : 0;
  for (size_t i = out.size(); i > first + 3;) out.insert(i -= 3, ",");
  return out;
}

std::string clock_text(double seconds) {
  const auto total = static_cast<int64_t>(seconds + 0.5);
  char text[64];
  if (total >= 3600)
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", static_cast<long>(total / 3600),
                  static_cast<long>(total / 60 % 60), static_cast<long>(total % 60));
  else
    std::snprintf(text, sizeof text, "%ld:%02ld", static_cast<long>(total / 60),
                  static_cast<long>(total % 60));
  return text;
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos)
      return line.substr(line.find(": ") + 2);
  return "unknown";
}

}  // namespace moe
