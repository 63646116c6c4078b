// T tokens, N sequences, C channels, W width of a convolution.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/base/error.h>
#include <moe/layers/recurrent_state.h>
#include <moe/ops/grouped.h>
#include <moe/ops/pointwise.h>
#include <moe/ops/random_fill.h>
#include <moe/ops/rows.h>

namespace moe::layers {

at::ScalarType recurrent_type(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}

void check_at_least(int64_t value, int64_t least, const std::string& place, const char* key) {
  check<ConfigError>(value >= least, "config", "expected '", detail::dotted(place, key),
                     "' of at least ", least, ", got ", value, ". Correct it.");
}

Tensor activated(const Tensor& x, ops::Activation activation) {
  return activation == ops::Activation::kSilu ? ops::silu(x) : ops::activate(x, activation);
}

RecurrentState::RecurrentState(const std::vector<std::vector<int64_t>>& shapes,
                               const at::TensorOptions& tensors) {
  const auto type = recurrent_type(c10::typeMetaToScalarType(tensors.dtype()));
  for (std::vector<int64_t> shape : shapes) {
    shape.insert(shape.begin(), 0);
    tensors_.push_back(at::empty(shape, tensors.dtype(type).requires_grad(false)));
  }
}

void RecurrentState::join(int64_t count) {
  for (Tensor& tensor : tensors_) {
    auto shape = tensor.sizes().vec();
    shape[0] = count;
    tensor = at::cat({tensor, at::zeros(shape, tensor.options())}, 0);
  }
  lengths_.resize(lengths_.size() + static_cast<size_t>(count));
}

void RecurrentState::keep(const std::vector<int64_t>& slots) {
  std::vector<int64_t> lengths;
  for (const int64_t slot : slots) lengths.push_back(lengths_.at(static_cast<size_t>(slot)));
  for (Tensor& tensor : tensors_)
    tensor = tensor.index_select(0, at::tensor(slots, at::kLong).to(tensor.device()));
  lengths_ = std::move(lengths);
}

int64_t RecurrentState::bytes() const {
  int64_t sum = 0;
  for (const Tensor& tensor : tensors_) sum += static_cast<int64_t>(tensor.nbytes());
  return sum;
}

void RecurrentState::check_next(const Sequences& sequences, std::string_view place) const {
  check(slots() == sequences.count(), place, "expected a sequence for each of the state's ",
        slots(), " slots, got ", sequences.count(),
        ". Let sequences join and leave the state first.");
  for (int64_t n = 0; n < slots(); ++n)
    check(lengths_[static_cast<size_t>(n)] == sequences.first_position_of(n), place,
          "expected sequence ", n, " to go on at position ", lengths_[static_cast<size_t>(n)],
          ", got ", sequences.first_position_of(n), ". Pass exactly the tokens that are new.");
}

void RecurrentState::advance(const Sequences& sequences) {
  for (int64_t n = 0; n < slots(); ++n)
    lengths_[static_cast<size_t>(n)] += sequences.runs.length(n);
}

RecurrentCall::RecurrentCall(const Tensor& x_TD, const LayerContext& context, LayerState* state,
                             std::string_view place)
    : sequences_(context.tokens.sequences) {
  const int64_t T = x_TD.size(0);
  if (!state && sequences_.count() == 0) sequences_ = Sequences::equal(1, T);
  check(sequences_.tokens() == T, place, "expected sequences of the call's ", T, " tokens, got ",
        sequences_.tokens(), ". Describe exactly the tokens that are passed.");
  for (int64_t n = 0; n < sequences_.count(); ++n) offsets_.push_back(sequences_.runs.begin(n));
  offsets_.push_back(T);
  if (!state) return;
  state_ = dynamic_cast<RecurrentState*>(state);
  check(state_, place, "expected a state that this model made, got another kind's.");
  check(!at::GradMode::is_enabled(), place,
        "expected a state in evaluation without gradients only. Put an at::NoGradGuard around the "
        "call, or pass no state.");
  state_->check_next(sequences_, place);
}

Tensor causal_convolution(const Tensor& x_TC, const Tensor& w_CW, const Tensor& b_C,
                          const Runs& runs, Tensor earlier_NWC) {
  const int64_t T = x_TC.size(0), W = w_CW.size(1), C = x_TC.size(1), held = W - 1;
  const Tensor w_WC = w_CW.to(x_TC.scalar_type()).t().contiguous();
  Tensor y_TC = x_TC * w_WC[held];
  if (b_C.defined()) y_TC = y_TC + b_C.to(x_TC.scalar_type());
  if (held == 0 || T == 0) return y_TC;
  // Rows of what can be met: those before the sequences, then the tokens.
  const bool goes_on = earlier_NWC.defined();
  const Tensor before = goes_on ? earlier_NWC.flatten(0, 1) : at::zeros({1, C}, x_TC.options());
  const Tensor source = at::cat({before, x_TC}, 0);
  const int64_t tokens_begin = before.size(0);
  // The row `back` rows before place p of sequence n.
  const auto row = [&](int64_t n, int64_t p, int64_t back) {
    if (p >= back) return tokens_begin + runs.begin(n) + p - back;
    return goes_on ? n * held + held + p - back : 0;
  };
  const auto rows = [&](int64_t count, const auto& fill) {
    Tensor out = at::empty({count}, at::kLong);
    fill(out.mutable_data_ptr<int64_t>());
    return out.to(x_TC.device());
  };
  for (int64_t back = 1; back <= held; ++back) {
    const Tensor row_T = rows(T, [&](int64_t* out) {
      for (int64_t n = 0; n < runs.count(); ++n)
        for (int64_t p = 0; p < runs.length(n); ++p) *out++ = row(n, p, back);
    });
    y_TC = y_TC + ops::gather_rows(source, row_T) * w_WC[held - back];
  }
  if (!goes_on) return y_TC;
  const Tensor last = rows(runs.count() * held, [&](int64_t* out) {
    for (int64_t n = 0; n < runs.count(); ++n)
      for (int64_t back = held; back > 0; --back) *out++ = row(n, runs.length(n), back);
  });
  earlier_NWC.copy_(source.index_select(0, last).view(earlier_NWC.sizes()));
  return y_TC;
}

Start log_uniform_start(double low, double high) {
  return [low, high](Tensor values, const RandomStream& stream) {
    ops::fill_uniform_(values, stream, low, high);
    values.log_();
  };
}

Start step_size_start(double low, double high) {
  return [low, high](Tensor values, const RandomStream& stream) {
    ops::fill_uniform_(values, stream, std::log(low), std::log(high));
    const Tensor step = values.exp();
    values.copy_(step + (-step.neg().expm1()).log());  // softplus of it is the step
  };
}

}  // namespace moe::layers
