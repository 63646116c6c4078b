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
  /// (B, S) int64 numbers, equal within a document and never falling in a row.
  Tensor document_BS = {};

  bool defined() const { return position_BS.defined(); }
};

/// From the numbers. Throws moe::Error for others.
Documents documents_of(const Tensor& document_BS);

}  // namespace moe
