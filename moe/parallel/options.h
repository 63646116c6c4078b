#pragma once

#include <cstdint>
#include <string>

namespace moe::parallel {

/// How the ranks of a run work together.
struct ParallelOptions {
  double timeout = 1800;
  double silence = 12;
  bool pin = true;

  template <class Visitor>
  void fields(Visitor& v) {
    v("timeout", timeout,
      "seconds that a rank waits in an exchange for another that runs but does not come to it; "
      "then the run ends and names it");
    v("silence", silence,
      "seconds after which a rank that gives no sign of life is taken for dead or stopped; then "
      "the run ends and names it");
    v("pin", pin,
      "bind each rank to its share of its machine's processors, unless the launcher bound it");
  }
  void validate(const std::string& place) const;
};

}  // namespace moe::parallel
