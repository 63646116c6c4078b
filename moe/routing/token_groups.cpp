// T tokens of this rank, A tokens in all, E experts, W ranks.
#include <numeric>
#include <vector>

#include <ATen/ops/full.h>

#include <moe/routing/token_groups.h>

namespace moe::routing {

TokenGroups::TokenGroups(const Tensor& values_TE, bool whole_batch, const TokenList& tokens,
                         parallel::Communicator& group)
    : tokens_(values_TE.size(0)) {
  const Tensor mine_TE = values_TE.detach().contiguous();
  Tensor all_AE = mine_TE;
  if (whole_batch && group.size() > 1) {
    const auto W = static_cast<size_t>(group.size());
    const Tensor own = at::full({1}, tokens_, mine_TE.options().dtype(at::kLong));
    const Tensor tokens_W = group.all_gather_v(own, std::vector<int64_t>(W, 1)).cpu();
    const int64_t* const begin = tokens_W.const_data_ptr<int64_t>();
    const std::vector<int64_t> counts(begin, begin + W);
    first_ = std::accumulate(begin, begin + group.rank(), int64_t{0});
    all_AE = group.all_gather_v(mine_TE, counts);
  }
  runs_ = whole_batch ? Runs::equal(1, all_AE.size(0)) : tokens.rows(tokens_);
  values_AE_ = all_AE.to(at::kCPU, at::kFloat).contiguous();
}

}  // namespace moe::routing
