#pragma once
// E experts, G groups.

#include <string>

#include <moe/ops/choice.h>
#include <moe/routing/router.h>

namespace moe::routing {

/// R13: options of a router that confines each token to a few groups of experts.
struct GroupLimit {
  int64_t groups = 1;
  int64_t kept_groups = 0;
  std::string group_score = "max";

  template <class Visitor>
  void fields(Visitor& v) {
    v("groups", groups, "split the experts into this many groups of neighbours; 1: no limit");
    v("kept_groups", kept_groups,
      "how many of its best groups a token chooses among; needed when groups > 1");
    v("group_score", group_score,
      "a group is as good as its best expert, \"max\" (DeepSeek-V2), or as the sum of its "
      "\"best_two\" (DeepSeek-V3)");
  }

  void validate(const std::string& place) const;
  /// Throws ConfigError unless E is a multiple of G and the kept groups hold top_k experts.
  void check_shape(const std::string& place, const RouterShape& shape) const;
  /// Group g is the experts [g E/G, (g+1) E/G). A group of one expert has no second best:
  /// "best_two" is its expert alone.
  void apply_to(ops::ChoiceRule& rule) const;
};

}  // namespace moe::routing
