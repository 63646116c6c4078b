// B batch, S sequence, T = B·S tokens, H heads, P head width, N documents, L longest of these.
#include <algorithm>
#include <bit>
#include <map>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>

#include <moe/layers/document_groups.h>
#include <moe/ops/rows.h>

namespace moe::layers {

namespace {

/// Tokens [begin, begin + length).
struct Stretch {
  int64_t begin, length;
};

}  // namespace

DocumentGroups group_documents(const Tensor& position_BS) {
  const Tensor position_T = position_BS.to(at::kCPU).contiguous();
  const auto* position = position_T.const_data_ptr<int64_t>();
  const int64_t T = position_T.numel();
  std::map<int, std::vector<Stretch>> by_length;
  for (int64_t begin = 0; begin < T;) {
    int64_t end = begin + 1;
    while (end < T && position[end] != 0) ++end;
    const int64_t length = end - begin;
    by_length[std::bit_width(static_cast<uint64_t>(length - 1))].push_back({begin, length});
    begin = end;
  }
  DocumentGroups out;
  Tensor place_T = at::empty({T}, at::kLong);
  auto* place = place_T.mutable_data_ptr<int64_t>();
  int64_t row = 0;  // of the groups end to end
  for (const auto& [bits, documents] : by_length) {
    const auto N = static_cast<int64_t>(documents.size());
    const int64_t L = std::ranges::max(documents, {}, &Stretch::length).length;
    Tensor token_NL = at::empty({N, L}, at::kLong);
    auto* token = token_NL.mutable_data_ptr<int64_t>();
    for (const auto [begin, length] : documents)
      for (int64_t i = 0; i < L; ++i, ++row) {
        *token++ = begin + std::min(i, length - 1);
        if (i < length) place[begin + i] = row;
      }
    out.groups.push_back({token_NL.to(position_BS.device())});
  }
  out.place_T = place_T.to(position_BS.device());
  return out;
}

Tensor attend_in_groups(const Tensor& q_BSHP, const Tensor& k_BSGP, const Tensor& v_BSGP,
                        const DocumentGroups& documents, const AttendRows& attend) {
  const int64_t H = q_BSHP.size(2), P = q_BSHP.size(3);
  std::vector<Tensor> rows;
  for (const auto& group : documents.groups) {
    const int64_t N = group.token_NL.size(0), L = group.token_NL.size(1);
    const Tensor token_R = group.token_NL.flatten();
    const auto take = [&](const Tensor& x_BSHP) {
      return ops::gather_rows(x_BSHP.reshape({-1, x_BSHP.size(2) * P}), token_R)
          .view({N, L, x_BSHP.size(2), P});
    };
    rows.push_back(attend(take(q_BSHP), take(k_BSGP), take(v_BSGP)).reshape({N * L, H * P}));
  }
  return ops::gather_rows(at::cat(rows, 0), documents.place_T).view(q_BSHP.sizes());
}

}  // namespace moe::layers
