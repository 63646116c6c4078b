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
  std::string exchange = "full";
  int64_t chunks = 1;
  std::string route = "direct";
  bool overlap_gradients = false;
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
    v("exchange", exchange,
      "how the numbers of rows (and of their gradients) travel to experts and back: full, as the "
      "products have them; bfloat16; or in 8 bits and a scale a row, float8 (e4m3) or int8; what "
      "that loses is in metrics.jsonl");
    v("chunks", chunks,
      "parts in which rows travel while experts compute on those that are there, each with some of "
      "a rank's experts (so at most these); 0: measured in the first steps, 1 where more do not "
      "pay; results are the same");
    v("route", route,
      "how rows reach ranks on other machines: direct, from rank to rank; machines, inside the "
      "machine first and then between machines in fewer, larger messages, with as many ranks on "
      "each; results are the same");
    v("overlap_gradients", overlap_gradients,
      "send sums of gradients while the backward pass of a step's last micro-batch makes the "
      "others, instead of behind it; takes memory for the gradients once more; results are the "
      "same");
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
