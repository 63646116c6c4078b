#pragma once
// Documents that share rows, each brought into a row of its own. B batch, S sequence, T = B·S
// tokens, H query heads, G key-value heads, P head width, N documents, L longest of these.

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::layers {

using at::Tensor;

/// Documents of about one length: none is half as long as another or less.
struct DocumentGroup {
  /// (N, L) int64 numbers b·S + s of tokens; behind a document's last token that one again.
  Tensor token_NL;
};

struct DocumentGroups {
  std::vector<DocumentGroup> groups;
  /// (T,) int64: where each token stands in the groups' token_NL laid end to end.
  Tensor place_T;
};

/// position_BS int64 (B, S), 0 at the beginning of every document and of every row.
DocumentGroups group_documents(const Tensor& position_BS);

/// Causal attention of (N, L, H, P), (N, L, G, P) and (N, L, G, P) -> (N, L, H, P).
using AttendRows =
    std::function<Tensor(const Tensor& q_NLHP, const Tensor& k_NLGP, const Tensor& v_NLGP)>;

/// Causal attention inside documents, (B, S, H, P): what fills a row stands behind the document,
/// where its queries do not look. At most 4 times the products that each document alone would take
/// in calls to `attend` of log2(S) + 1 at most, where a mask over whole rows takes S² a row.
Tensor attend_in_groups(const Tensor& q_BSHP, const Tensor& k_BSGP, const Tensor& v_BSGP,
                        const DocumentGroups& documents, const AttendRows& attend);

}  // namespace moe::layers
