// E experts.
#include <algorithm>

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/graph_task.h>
#include <torch/csrc/autograd/variable.h>

#include <moe/base/error.h>
#include <moe/ops/gradient_sink.h>

namespace moe::ops {

namespace {

using cpu::SumState;

/// Whether the pass that runs is one that adds to all leaves' `.grad()`, not one of autograd::grad
/// or with inputs of its own.
bool pass_is_for_all_leaves() {
  const auto* const wanted = torch::autograd::get_current_graph_task_exec_info();
  return !wanted || wanted->empty();
}

bool is_plain(const Tensor& tensor) {
  return tensor.is_cpu() && tensor.is_contiguous() && tensor.scalar_type() == at::kFloat;
}

Tensor new_sums(const Tensor& parameter) {
  return at::empty(parameter.sizes(), parameter.options().dtype(at::kFloat).requires_grad(false));
}

bool has_hooks(const Tensor& parameter) {
  return !torch::autograd::impl::hooks(parameter).empty() ||
         torch::autograd::impl::post_acc_grad_hooks(parameter) != nullptr;
}

}  // namespace

GradientSink::GradientSink(Tensor parameter) : parameter_(std::move(parameter)) {
  check(parameter_.dim() > 1, "ops/gradient_sink", "expected a stacked parameter (E, …), got ",
        parameter_.sizes(), ". Leave other gradients to autograd.");
}

bool GradientSink::serves(const Tensor& parameter) {
  return parameter.requires_grad() && is_plain(parameter);
}

bool GradientSink::is_ours_alone() const {
  return sums_.use_count() == 1 && sums_.storage().use_count() == 1;
}

Tensor GradientSink::begin() {
  if (!serves(parameter_) || !pass_is_for_all_leaves() || has_hooks(parameter_)) return {};
  const Tensor& gradient = parameter_.grad();
  const bool fits = sums_.defined() && sums_.sizes() == parameter_.sizes() && is_plain(sums_);
  if (gradient.defined()) {
    if (!fits || !gradient.is_same(sums_)) return {};
    if (!is_noted()) std::fill(state_E_.begin(), state_E_.end(), SumState::kLive);
  } else if (!fits || !is_ours_alone()) {
    sums_ = new_sums(parameter_);
    state_E_.assign(static_cast<size_t>(parameter_.size(0)), SumState::kStale);
  } else if (is_noted()) {
    std::replace(state_E_.begin(), state_E_.end(), SumState::kLive, SumState::kStale);
  } else {
    std::fill(state_E_.begin(), state_E_.end(), SumState::kStale);
  }
  noted_ = -1;
  return sums_;
}

void GradientSink::end() {
  sums_.unsafeGetTensorImpl()->bump_version();
  keep_zeros();
  parameter_.mutable_grad() = sums_;
}

bool GradientSink::knows_zeros() const {
  return sums_.defined() && parameter_.grad().is_same(sums_) && is_noted();
}

std::vector<Range> GradientSink::live_ranges() const {
  std::vector<Range> out;
  const int64_t E = sums_.size(0), size = sums_.numel() / std::max<int64_t>(E, 1);
  for (int64_t e = 0; e < E; ++e) {
    if (state_E_[static_cast<size_t>(e)] != SumState::kLive) continue;
    const int64_t begin = e * size / kRangeStep * kRangeStep,
                  up = ((e + 1) * size + kRangeStep - 1) / kRangeStep * kRangeStep,
                  end = std::min(up, sums_.numel());
    if (!out.empty() && begin <= out.back().end)
      out.back().end = end;
    else
      out.push_back({begin, end});
  }
  return out;
}

SinkPass::SinkPass(GradientSinkPtr sink) : sink_(std::move(sink)) {
  if (!sink_) return;
  sums_ = sink_->begin();
  open_ = sums_.defined();
  if (open_) return;
  sums_ = new_sums(sink_->parameter());
  own_E_.assign(static_cast<size_t>(sums_.size(0)), SumState::kStale);
}

Tensor SinkPass::result() {
  if (!open_) return std::move(sums_);
  sink_->end();
  return {};
}

GradientSink* GradientSinks::knowing(const Tensor& parameter) const {
  const auto found = sinks_.find(parameter.unsafeGetTensorImpl());
  return found != sinks_.end() && found->second->knows_zeros() ? found->second.get() : nullptr;
}

}  // namespace moe::ops
