#pragma once
// C positions held, T tokens, W numbers of a token.

#include <moe/flow/sequences.h>
#include <moe/layers/mixer.h>
#include <moe/layers/slot_rows.h>

namespace moe::layers {

/// What latent attention remembers of each position of the sequences of a running batch: its latent
/// and the shared key, one behind the other, and the indexer's key. Memory is one block of rows.
class LatentState final : public LayerState {
 public:
  /// Numbers of a position: latent and shared key; the indexer's key (0: no indexer).
  LatentState(int64_t latent_width, int64_t index_width, const StateShape& shape);

  void join(int64_t count) override;
  void keep(const std::vector<int64_t>& slots) override { slots_.keep(slots); }
  int64_t bytes() const override;

  int64_t slots() const { return slots_.slots(); }
  /// Positions that slot n has seen.
  int64_t length(int64_t n) const { return slots_.length(n); }
  /// Slot n has seen the tokens of run n. index_TI is undefined without an indexer. Throws
  /// moe::Error where a sequence grows beyond the capacity.
  void extend(const Runs& runs, const Tensor& latent_TW, const Tensor& index_TI);

  /// Views of what is held of slot n: (C, W).
  Tensor latents(int64_t n) const { return held(latent_, n); }
  Tensor index_keys(int64_t n) const { return held(index_, n); }
  /// All memory of latents as rows (R, W), and the row where slot n's begin; `capacity` of them.
  Tensor all_latents() const { return latent_.flatten(0, 1); }
  int64_t first_row(int64_t n) const { return slots_.row(n) * capacity_; }
  int64_t capacity() const { return capacity_; }

 private:
  Tensor held(const Tensor& memory, int64_t n) const;

  int64_t capacity_;
  SlotRows slots_;
  Tensor latent_, index_;  // (rows, C, W)
};

}  // namespace moe::layers
