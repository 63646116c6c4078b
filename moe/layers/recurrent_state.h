#pragma once
// What recurrent mixers have in common. T tokens, N sequences, C channels, W width of a
// convolution.

#include <string_view>
#include <vector>

#include <moe/layers/mixer.h>
#include <moe/ops/activation.h>

namespace moe::layers {

/// Of each sequence of a running batch a few tensors of fixed shapes, whatever its length: the last
/// inputs of a convolution, memories of a recurrence. They start at zero.
class RecurrentState final : public LayerState {
 public:
  /// `shapes` are those of one sequence. Tensors are float32, or float64 where `tensors` are.
  RecurrentState(const std::vector<std::vector<int64_t>>& shapes, const at::TensorOptions& tensors);

  void join(int64_t count) override;
  void keep(const std::vector<int64_t>& slots) override;
  int64_t bytes() const override;

  int64_t slots() const { return static_cast<int64_t>(lengths_.size()); }
  /// Tensor number i of all slots, (N, …), contiguous.
  Tensor& operator[](size_t i) { return tensors_[i]; }
  /// Throws moe::Error unless `sequences` go on where the slots are.
  void check_next(const Sequences& sequences, std::string_view place) const;
  /// Slots have seen these tokens.
  void advance(const Sequences& sequences);

 private:
  std::vector<Tensor> tensors_;
  std::vector<int64_t> lengths_;
};

/// A call of a recurrent mixer: its sequences, and its state if there is one.
class RecurrentCall {
 public:
  /// Checks that the sequences are of x_TD's tokens and go on from `state`. Throws moe::Error where
  /// not, and for gradients beside a state.
  RecurrentCall(const Tensor& x_TD, const LayerContext& context, LayerState* state,
                std::string_view place);

  const Runs& runs() const { return sequences_.runs; }
  /// (N + 1) where sequences begin, and the end of the last.
  const std::vector<int64_t>& offsets() const { return offsets_; }
  /// Tensor number i of the state; undefined without one.
  Tensor memory(size_t i) const { return state_ ? (*state_)[i] : Tensor(); }
  /// To be called behind the pass: the state has seen the tokens.
  void finish() const {
    if (state_) state_->advance(sequences_);
  }

 private:
  Sequences sequences_;
  std::vector<int64_t> offsets_;
  RecurrentState* state_ = nullptr;
};

/// y_t,c = bias_c + sum_j w_c,j x_t-W+1+j,c inside each sequence: every channel for itself, the
/// last column meets the token itself, zeros stand before a sequence. x_TC float32 or float64; w_CW
/// and b_C (which may be undefined) are widened to it.
///
/// `earlier_NWC` (N, W - 1, C), if defined, holds what came before instead, and moves on.
Tensor causal_convolution(const Tensor& x_TC, const Tensor& w_CW, const Tensor& b_C,
                          const Runs& runs, Tensor earlier_NWC = {});

/// act(x); where it is silu, its bits do not depend on where a number stands.
Tensor activated(const Tensor& x, ops::Activation activation);

/// float32, or float64 for float64: the type of recurrences.
at::ScalarType recurrent_type(at::ScalarType type);

/// Throws ConfigError naming `place`.key unless value is at least `least`.
void check_at_least(int64_t value, int64_t least, const std::string& place, const char* key);

/// How parameters of recurrences start: ln of numbers uniform in [low, high]; and step sizes
/// log-uniform in [low, high], as what softplus makes them of.
Start log_uniform_start(double low, double high);
Start step_size_start(double low, double high);

}  // namespace moe::layers
