#pragma once
// E experts, G groups.

#include <string>

#include <moe/ops/choice.h>
#include <moe/routing/router.h>

namespace moe::routing {

/// Confines each token to a few groups of experts (DeepSeek-V2): group g is the experts
/// [g E/G, (g+1) E/G).
struct GroupLimit {
  int64_t groups = 1;
  int64_t kept_groups = 0;
  std::string group_score = "max";

  /// The limit that a router's options ask for; see group_fields.
  template <class Options>
  static GroupLimit of(const Options& o) {
    return {o.groups, o.kept_groups, o.group_score};
  }

  void validate(const std::string& place) const;
  /// Throws ConfigError unless E is a multiple of G and the kept groups hold top_k experts.
  void check_shape(const std::string& place, const RouterShape& shape) const;
  /// A group of one expert has no second best: "best_two" is its expert alone.
  void apply_to(ops::ChoiceRule& rule) const;
};

}  // namespace moe::routing
