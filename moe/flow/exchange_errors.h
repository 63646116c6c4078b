#pragma once
// R rows, D width.

#include <map>

#include <ATen/core/Tensor.h>

namespace moe {

using at::Tensor;

/// How far rows that travelled in fewer bits are from those that were sent. NaN where nothing, or
/// nothing but zeros, was sent.
struct RowError {
  /// <x, y> / (|x| |y|) over all numbers x that were sent and y that were read.
  double cosine = 0;
  /// |x - y| / |x|.
  double relative = 0;
};

/// Of a layer: rows to experts and back; in the backward pass, their gradients.
struct ExchangeError {
  RowError forward, backward;
};

/// Adds up what exchanges in fewer bits lose, by layer. Whoever runs a model hands one in with the
/// context; forward and backward passes add to it. Used by one thread at a time.
class ExchangeErrors {
 public:
  /// Where the rows of an exchange are counted.
  struct Entry {
    int64_t layer = 0;
    bool is_backward = false;

    auto operator<=>(const Entry&) const = default;
  };

  /// Adds <x, y>, |x|^2, |y|^2 and |x - y|^2 of rows x as they were and y as they are read; all
  /// ranks call it for the same entries, also without rows.
  void add(const Entry& entry, const Tensor& exact_RD, const Tensor& read_RD);

  bool empty() const { return sums_.empty(); }
  /// (n, 4) float64: the sums of all entries, in their order; to be added over ranks and handed to
  /// `by_layer`.
  Tensor sums() const;
  /// The errors that sums of this object's entries mean.
  std::map<int64_t, ExchangeError> by_layer(const Tensor& sums_n4) const;

 private:
  std::map<Entry, Tensor> sums_;
};

}  // namespace moe
