// W ranks.
#include <algorithm>
#include <numeric>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/parallel/copies.h>
#include <moe/parallel/gradients.h>
#include <moe/train/state_shares.h>

namespace moe::train {

Rows Rows::within(const Rows& others) const {
  if (all() || others.none()) return others;
  if (others.all()) return *this;
  const int64_t begin = std::max(first, others.first);
  const int64_t end = std::min(first + count, others.first + others.count);
  return {begin, std::max<int64_t>(0, end - begin)};
}

StateShares::StateShares(const Parameters& parameters, const StateSharing& sharing,
                         const RowsApart& rows_apart)
    : parameters_(parameters), layout_(sharing.layout), shares_(parameters.size()) {
  for (const auto& parameter : parameters_)
    check<ConfigError>(!parameter.info.placement || !parameter.info.placement->has_copies() ||
                           (rows_apart && rows_apart(parameter)),
                       "train/state_shares", "expected an optimizer that updates the experts of '",
                       parameter.name,
                       "' apart from one another, since some have copies on several ranks, got one "
                       "that does not. Take the replicas out of the placement, or use adamw.");
  if (!sharing.shared_out) return;
  share_out(*layout_.world, /*of_experts=*/false, rows_apart);
  share_out(*layout_.data, /*of_experts=*/true, rows_apart);
}

void StateShares::share_out(const parallel::Communicator& group, bool of_experts,
                            const RowsApart& rows_apart) {
  const int64_t W = group.size();
  if (W == 1) return;
  std::vector<size_t> mine;
  int64_t all = 0;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, tensor, info] = parameters_[i];
    // A single number is kept everywhere; a rank may have no row of a stack.
    if (info.is_local() != of_experts || tensor.dim() == 0 || own_numbers(i) == 0) continue;
    mine.push_back(i);
    all += own_numbers(i);
  }
  std::stable_sort(mine.begin(), mine.end(),
                   [&](size_t a, size_t b) { return own_numbers(a) > own_numbers(b); });
  std::vector<int64_t> held_W(static_cast<size_t>(W), 0);
  for (const size_t i : mine) {
    const int64_t numbers = own_numbers(i), rows = own_rows(parameters_[i]);
    // What belongs to a single expert stays in one piece.
    const bool cut = numbers > (all + W - 1) / W && rows > 1 && !parameters_[i].info.expert &&
                     rows_apart(parameters_[i]);
    if (cut) {
      shares_[i] = {Share::kByRows};
      for (int64_t w = 0; w < W; ++w)
        held_W[static_cast<size_t>(w)] += parallel::share_of(rows, W, w).count * (numbers / rows);
      continue;
    }
    const auto least = std::min_element(held_W.begin(), held_W.end());
    shares_[i] = {Share::kOneRank, least - held_W.begin()};
    *least += numbers;
  }
}

const parallel::Communicator& StateShares::group_of(size_t index) const {
  return parameters_.at(index).info.is_local() ? *layout_.data : *layout_.world;
}

Rows StateShares::of_rank(size_t index, int64_t rank) const {
  const Share& share = shares_.at(index);
  if (share.how == Share::kOneRank && share.owner != rank) return {0, 0};
  const auto& parameter = parameters_[index];
  if (share.how != Share::kByRows)
    return parameter.info.copies > 0 ? Rows{0, own_rows(parameter)} : Rows();
  const auto [first, count] = parallel::share_of(own_rows(parameter), group_of(index).size(), rank);
  return {first, count};
}

int64_t StateShares::own_numbers(size_t index) const {
  const auto& parameter = parameters_[index];
  const int64_t all = parameter.tensor.numel();
  if (parameter.info.copies == 0) return all;
  return all / parameter.tensor.size(0) * own_rows(parameter);
}

Tensor StateShares::zeros(size_t index) const {
  const Tensor& tensor = parameters_.at(index).tensor;
  auto sizes = tensor.sizes().vec();
  if (const Rows rows = here(index); !rows.all()) sizes.front() = rows.count;
  return at::zeros(sizes, tensor.options().requires_grad(false));
}

Tensor StateShares::part(const Tensor& state, size_t index, const Rows& rows) const {
  const Rows kept = here(index);
  if (kept.all()) return rows.of(state);
  if (rows.none() || kept.none()) return state.narrow(0, 0, 0);
  check(
      !rows.all() && rows.first >= kept.first && rows.first + rows.count <= kept.first + kept.count,
      "train/state_shares", "expected rows of which this rank keeps the state, [", kept.first, ", ",
      kept.first + kept.count, "), got others.");
  return state.narrow(0, rows.first - kept.first, rows.count);
}

Parameter StateShares::entry(const std::string& name, size_t index, const Tensor& state) const {
  const auto& parameter = parameters_.at(index);
  Parameter out{name, state, parameter.info};
  const Rows rows = here(index);
  out.info.copies = 0;
  if (shares_[index].how != Share::kEverywhere) {
    out.info.whole = whole_rows(parameter);
    out.info.sharded = true;
    out.info.only_here = true;
  }
  if (rows.all()) return out;
  const auto& numbers = parameter.info.numbers;
  if (numbers.empty())
    out.info.first_expert += rows.first;
  else
    out.info.numbers = {numbers.begin() + rows.first, numbers.begin() + rows.first + rows.count};
  if (!out.info.used.empty()) {
    const auto used = parameter.info.used.begin() + rows.first;
    out.info.used = {used, used + rows.count};
  }
  return out;
}

void StateShares::hand_out(const std::vector<size_t>& changed) const {
  const at::NoGradGuard no_grad;
  for (const bool of_experts : {false, true}) {
    parallel::Communicator& group = of_experts ? *layout_.data : *layout_.world;
    std::vector<size_t> bucket;
    int64_t bytes = 0;
    const auto send = [&] {
      if (!bucket.empty()) hand_out(bucket, group);
      bucket.clear();
      bytes = 0;
    };
    for (const size_t i : changed) {
      const auto& [name, tensor, info] = parameters_.at(i);
      if (info.is_local() != of_experts || shares_[i].how == Share::kEverywhere) continue;
      const auto size = static_cast<int64_t>(tensor.nbytes());
      if (!bucket.empty() && (bytes + size > parallel::kBucketBytes ||
                              tensor.scalar_type() != parameters_[bucket[0]].tensor.scalar_type()))
        send();
      bucket.push_back(i);
      bytes += size;
    }
    send();
  }
  parallel::renew_copies(parameters_, *layout_.experts);
}

void StateShares::hand_out(const std::vector<size_t>& bucket, parallel::Communicator& group) const {
  std::vector<int64_t> counts_W;
  std::vector<Tensor> mine;
  for (int64_t w = 0; w < group.size(); ++w) {
    counts_W.push_back(0);
    for (const size_t i : bucket) {
      const Tensor rows = of_rank(i, w).of(parameters_[i].tensor.detach());
      counts_W.back() += rows.numel();
      if (w == group.rank()) mine.push_back(rows.reshape({-1}));
    }
  }
  const Tensor all = group.all_gather_v(at::cat(mine), counts_W);
  int64_t begin = 0;
  for (int64_t w = 0; w < group.size(); ++w)
    for (const size_t i : bucket) {
      const Tensor rows = of_rank(i, w).of(parameters_[i].tensor.detach());
      if (w != group.rank()) rows.copy_(all.narrow(0, begin, rows.numel()).view(rows.sizes()));
      begin += rows.numel();
    }
}

}  // namespace moe::train
