#pragma once
// Which experts tokens choose together, as counts: what a placement is made for. E experts, N sets.

#include <cstdint>
#include <map>
#include <vector>

namespace moe::cluster {

/// The tokens of one MoE layer by the set of experts that they chose. Sets are different, their
/// experts rise and lie in [0, experts).
struct Traffic {
  int64_t layer = 0;
  int64_t experts = 0;
  /// Numbers of a token's vector as it travels, and FLOPs of one expert for it; 0: not known.
  int64_t width = 0;
  int64_t flops_per_pair = 0;
  /// (N+1,): the experts of set n are expert[offset_N[n]] .. expert[offset_N[n + 1]].
  std::vector<int64_t> offset_N = {0};
  std::vector<int32_t> expert = {};
  /// (N,) tokens that chose it.
  std::vector<int64_t> tokens_N = {};

  int64_t sets() const { return static_cast<int64_t>(tokens_N.size()); }
  /// Tokens of all sets, and their (token, expert) pairs.
  int64_t tokens() const;
  int64_t pairs() const;
  /// (E,) pairs of each expert.
  std::vector<int64_t> load_E() const;
};

/// Adds up a Traffic token by token.
class TrafficBuilder {
 public:
  /// Throws moe::Error for experts outside [1, 2^20].
  TrafficBuilder(int64_t layer, int64_t experts);

  /// A token's experts, each once, in any order; a token without any counts nowhere. Throws
  /// moe::Error for numbers outside [0, experts), for one that is there twice, and when there are
  /// more than 2^24 different sets.
  void add(std::vector<int32_t> experts, int64_t tokens = 1);
  Traffic finish() &&;

 private:
  int64_t layer_, experts_;
  std::map<std::vector<int32_t>, int64_t> tokens_;
};

}  // namespace moe::cluster
