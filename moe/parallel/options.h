#pragma once

#include <cstdint>
#include <string>

namespace moe::parallel {

/// How the ranks of a run work together: who holds what (layout.h; results are the same), and what
/// they do about each other's failures.
struct ParallelOptions {
  int64_t experts = 0;
  std::string data = "rest";
  bool shard_optimizer = false;
  std::string placement = "";
  double timeout = 1800;
  double silence = 12;
  bool pin = true;

  template <class Visitor>
  void fields(Visitor& v) {
    v("experts", experts,
      "ranks that share the experts of a layer, neighbours of one another; 0: all ranks, or with a "
      "number as data those that it leaves");
    v("data", data,
      "copies of all experts, whose ranks train on other rows and add the experts' gradients: "
      "\"rest\", the ranks over experts, or their number as text");
    v("shard_optimizer", shard_optimizer,
      "keep the optimizer's state of a parameter on one of the ranks that have the parameter, each "
      "on another (ZeRO stage 1); false: on each of them");
    v("placement", placement,
      "a file of moe place that says which of the ranks that share experts holds which, and which "
      "hold copies of hot ones; \"\": in the order of their numbers, as many on each");
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
  /// data as a number; 0: the rest.
  int64_t copies() const;
};

}  // namespace moe::parallel
