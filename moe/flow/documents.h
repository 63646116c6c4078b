#pragma once
// Documents packed end to end into the rows of a batch. B batch, S sequence.

#include <ATen/core/Tensor.h>

namespace moe {

using at::Tensor;

/// What keeps documents of one row apart; nothing is defined where every row is one document.
/// Routing, balance terms and expert choice do not look at it: their groups stay the rows.
struct Documents {
  /// (B, S) int64, counted from 0 in every document.
  Tensor position_BS = {};
  /// (B, S, S) bool: query and key are of the same document.
  Tensor same_BSS = {};

  bool defined() const { return position_BS.defined(); }
};

/// From numbers of documents, (B, S) int64, equal within a document and never falling in a row.
Documents documents_of(const Tensor& document_BS);

}  // namespace moe
