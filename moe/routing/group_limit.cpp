// T tokens, E experts, G groups of S experts, J kept groups.
#include <algorithm>
#include <limits>

#include <ATen/ops/ones.h>

#include <moe/ops/order.h>
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

Tensor limited_to_groups(const Tensor& values_TE, const Tensor& ranked_TE,
                         const GroupLimit& limit) {
  const int64_t T = values_TE.size(0), E = values_TE.size(1), G = limit.groups, S = E / G;
  if (G == 1 || limit.kept_groups == G) return values_TE;
  const int64_t best = limit.group_score == "max" ? 1 : std::min<int64_t>(2, S);
  const Tensor ranked_GS = ranked_TE.detach().reshape({T * G, S});
  const Tensor score_TG = ops::topk(ranked_GS, best).first.sum(1).reshape({T, G});
  const Tensor kept_TJ = ops::topk(score_TG, limit.kept_groups).second;
  Tensor outside_TG = at::ones({T, G}, kept_TJ.options().dtype(at::kBool));
  outside_TG.scatter_(1, kept_TJ, false);
  const Tensor outside_TE = outside_TG.unsqueeze(2).expand({T, G, S}).reshape({T, E});
  return values_TE.masked_fill(outside_TE, -std::numeric_limits<double>::infinity());
}

}  // namespace moe::routing
