#pragma once
// Python beside the tests: what others wrote is compared with where its packages are present.

#include <cstdlib>
#include <string>

#include <moe/base/files.h>

namespace moe::test {

/// The interpreter that MOE_PYTHON names, or python3.
inline std::string python() {
  const char* named = std::getenv("MOE_PYTHON");
  return named != nullptr && *named != '\0' ? named : "python3";
}

/// Whether it can import all of `modules` ("safetensors, numpy").
inline bool python_has(const std::string& modules) {
  return std::system((python() + " -c 'import " + modules + "' >/dev/null 2>&1").c_str()) == 0;
}

/// What the interpreter ends with, given a script and its argument.
inline int run_python(const Path& script, const Path& argument) {
  return std::system((python() + ' ' + script.string() + ' ' + argument.string()).c_str());
}

}  // namespace moe::test
