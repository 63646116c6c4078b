#pragma once
// Python beside the tests: what others wrote is compared with where its packages are present.

#include <cstdlib>
#include <string>

#include <moe/base/files.h>

namespace moe::test {

/// Whether python3 can import all of `modules` ("safetensors, numpy").
inline bool python_has(const std::string& modules) {
  return std::system(("python3 -c 'import " + modules + "' >/dev/null 2>&1").c_str()) == 0;
}

/// What `python3 script argument` ends with.
inline int run_python(const Path& script, const Path& argument) {
  return std::system(("python3 " + script.string() + ' ' + argument.string()).c_str());
}

}  // namespace moe::test
