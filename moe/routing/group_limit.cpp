// E experts, G groups.
#include <moe/routing/group_limit.h>

namespace moe::routing {

void GroupLimit::validate(const std::string& place) const {
  check_one_of(place, "group_score", group_score, {"max", "best_two"});
  check<ConfigError>(groups >= 1, place, "expected groups >= 1, got ", groups,
                     ". Use 1 for no limit.");
  if (groups == 1 && kept_groups == 0) return;
  check<ConfigError>(kept_groups >= 1 && kept_groups <= groups, place,
                     "expected kept_groups in [1, groups=", groups, "], got ", kept_groups,
                     ". Say among how many groups a token may choose.");
}

void GroupLimit::check_shape(const std::string& place, const RouterShape& shape) const {
  if (groups == 1) return;
  const int64_t E = shape.num_experts;
  check<ConfigError>(E % groups == 0, place, "expected groups of equal size, got groups=", groups,
                     " for num_experts=", E, ". Choose a divisor of the number of experts.");
  const int64_t reachable = kept_groups * (E / groups);
  check<ConfigError>(reachable >= shape.top_k, place,
                     "expected kept_groups that hold top_k=", shape.top_k,
                     " experts, got kept_groups=", kept_groups, " with ", reachable,
                     ". Keep more groups or lower top_k.");
}

void GroupLimit::apply_to(ops::ChoiceRule& rule) const {
  if (groups == 1) return;
  rule.groups = groups;
  rule.kept_groups = kept_groups;
  rule.best_two = group_score == "best_two";
}

}  // namespace moe::routing
