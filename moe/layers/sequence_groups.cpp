// T tokens, N sequences of a group, L the longest of these.
#include <algorithm>
#include <bit>
#include <map>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <moe/layers/sequence_groups.h>
#include <moe/ops/rows.h>

namespace moe::layers {

namespace {

/// Rows index_R of x (rows, …), which may have any number of dimensions.
Tensor rows_of(const Tensor& x, const Tensor& index_R, at::IntArrayRef leading) {
  std::vector<int64_t> sizes(leading.begin(), leading.end());
  const auto rest = x.sizes().slice(1);
  sizes.insert(sizes.end(), rest.begin(), rest.end());
  return ops::gather_rows(x.reshape({x.size(0), -1}), index_R).view(sizes);
}

}  // namespace

Tensor SequenceGroup::take(const Tensor& x) const {
  return rows_of(x, token_NL.flatten(), token_NL.sizes());
}

SequenceGroups::SequenceGroups(const Runs& runs, at::Device device) {
  std::map<int, std::vector<int64_t>> by_length;
  for (int64_t i = 0; i < runs.count(); ++i)
    if (runs.length(i) > 0)
      by_length[std::bit_width(static_cast<uint64_t>(runs.length(i) - 1))].push_back(i);
  Tensor place_T = at::empty({runs.tokens()}, at::kLong);
  auto* place = place_T.mutable_data_ptr<int64_t>();
  int64_t row = 0;
  for (const auto& [bits, members] : by_length) {
    int64_t L = 0;
    for (const int64_t i : members) L = std::max(L, runs.length(i));
    const auto N = static_cast<int64_t>(members.size());
    Tensor token_NL = at::empty({N, L}, at::kLong), length_N = at::empty({N}, at::kLong);
    auto *token = token_NL.mutable_data_ptr<int64_t>(),
         *length = length_N.mutable_data_ptr<int64_t>();
    bool all_real = true;
    for (const int64_t i : members) {
      *length++ = runs.length(i);
      all_real = all_real && runs.length(i) == L;
      for (int64_t l = 0; l < L; ++l, ++row) {
        *token++ = std::min(runs.begin(i) + l, runs.end(i) - 1);
        if (l < runs.length(i)) place[runs.begin(i) + l] = row;
      }
    }
    groups_.push_back({token_NL.to(device), all_real ? Tensor() : length_N.to(device)});
  }
  place_T_ = place_T.to(device);
}

Tensor SequenceGroups::put_back(const std::vector<Tensor>& of_groups) const {
  std::vector<Tensor> rows;
  for (const Tensor& x : of_groups) rows.push_back(x.flatten(0, 1));
  return rows_of(at::cat(rows, 0), place_T_, place_T_.sizes());
}

}  // namespace moe::layers
