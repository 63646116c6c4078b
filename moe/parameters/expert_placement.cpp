// E experts, W ranks.
#include <algorithm>

#include <moe/base/error.h>
#include <moe/parameters/expert_placement.h>

namespace moe {

ExpertPlacement::ExpertPlacement(std::vector<std::vector<int64_t>> ranks_E, int64_t ranks)
    : ranks_E_(std::move(ranks_E)),
      held_W_(static_cast<size_t>(std::max<int64_t>(ranks, 0))),
      own_W_(held_W_.size(), 0) {
  constexpr std::string_view kPlaceOfPlacement = "parameters/expert_placement";
  for (size_t e = 0; e < ranks_E_.size(); ++e) {
    check(!ranks_E_[e].empty(), kPlaceOfPlacement, "expected a rank that holds expert ", e,
          ", got none. Name its owner.");
    for (auto rank = ranks_E_[e].begin(); rank != ranks_E_[e].end(); ++rank) {
      check(*rank >= 0 && *rank < ranks, kPlaceOfPlacement, "expected ranks of expert ", e,
            " in [0, ", ranks, "), got ", *rank, ". Correct it.");
      check(std::find(ranks_E_[e].begin(), rank, *rank) == rank, kPlaceOfPlacement,
            "expected different ranks for expert ", e, ", got rank ", *rank, " twice. Correct it.");
    }
    has_copies_ |= ranks_E_[e].size() > 1;
    const auto owner = static_cast<size_t>(owner_of(static_cast<int64_t>(e)));
    held_W_[owner].push_back(static_cast<int64_t>(e));
    ++own_W_[owner];
  }
  for (size_t e = 0; e < ranks_E_.size(); ++e)
    for (size_t copy = 1; copy < ranks_E_[e].size(); ++copy)
      held_W_[static_cast<size_t>(ranks_E_[e][copy])].push_back(static_cast<int64_t>(e));
}

int64_t ExpertPlacement::row_of(int64_t expert, int64_t rank) const {
  const auto& held = held_by(rank);
  const auto found = std::find(held.begin(), held.end(), expert);
  return found == held.end() ? -1 : found - held.begin();
}

}  // namespace moe
