// N rows, M rows of a chunk, D width, V outputs.
#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>

#include <moe/base/error.h>
#include <moe/layers/chunked_rows.h>

namespace moe::layers {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kPlaceOfRows = "layers/chunked_loss";

/// The leaves that `output` was computed from and that learn, but for `known`, in the order of a
/// walk through its graph.
variable_list leaves_of(const Tensor& output, const Tensor& known) {
  variable_list out;
  std::vector<torch::autograd::Node*> path = {output.grad_fn().get()};
  std::unordered_set<torch::autograd::Node*> seen;
  while (!path.empty()) {
    auto* const node = path.back();
    path.pop_back();
    if (!node || !seen.insert(node).second) continue;
    if (const auto* leaf = dynamic_cast<torch::autograd::AccumulateGrad*>(node)) {
      if (!leaf->variable.is_same(known)) out.push_back(leaf->variable);
    }
    for (const auto& edge : node->next_edges()) path.push_back(edge.function.get());
  }
  return out;
}

/// A sum of gradients, in at least float32 where there are several.
class GradientSum {
 public:
  void add(const Tensor& gradient) {
    if (is_own_) {
      value_.add_(gradient);
    } else if (value_.defined()) {
      value_ = value_.to(at::promoteTypes(value_.scalar_type(), at::kFloat)) + gradient;
      is_own_ = true;
    } else {
      value_ = gradient;  // autograd's tensor, perhaps shared: not to be changed in place
    }
  }
  bool defined() const { return value_.defined(); }
  /// The sum times `factor`, as `type`; nothing stays here.
  Tensor take(const Tensor& factor, at::ScalarType type) {
    const Tensor out = is_own_ ? value_.mul_(factor) : value_.mul(factor);
    value_ = Tensor();
    return out.to(type);
  }

 private:
  Tensor value_;
  bool is_own_ = false;
};

/// Gradients that are known in the forward pass already, on their way to the backward pass. A
/// holder, because autograd's context keeps no plain C++ objects.
struct Gradients : torch::CustomClassHolder {
  std::vector<std::pair<GradientSum, at::ScalarType>> of_inputs;
  bool taken = false;
};

/// `value`, a number, as a function of `inputs` whose gradients are known.
struct KnownGradients : torch::autograd::Function<KnownGradients> {
  static Tensor forward(AutogradContext* ctx, const Tensor& value, at::TensorList /*inputs*/,
                        const c10::intrusive_ptr<Gradients>& gradients) {
    ctx->saved_data["gradients"] = c10::IValue::make_capsule(gradients);
    return value.clone();
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& outer) {
    const auto held =
        c10::static_intrusive_pointer_cast<Gradients>(ctx->saved_data["gradients"].toCapsule());
    check(!at::GradMode::is_enabled() && !held->taken, kPlaceOfRows,
          "expected one backward pass that makes no graph, got a second one or one with "
          "create_graph. Compute the loss again, or from whole logits.");
    held->taken = true;
    variable_list out = {Tensor()};
    for (auto& [gradient, type] : held->of_inputs) out.push_back(gradient.take(outer[0], type));
    held->of_inputs.clear();
    out.emplace_back();
    return out;
  }
};

/// Goes through the rows a chunk at a time.
class ChunkedRows {
 public:
  ChunkedRows(const Head& head, const Tensor& hidden_ND, const RowLosses& losses)
      : head_(head),
        losses_(losses),
        hidden_ND_(hidden_ND),
        learns_(at::GradMode::is_enabled()),
        sum_(at::zeros({}, hidden_ND.options().dtype(at::kDouble).requires_grad(false))) {}

  Tensor run(int64_t logits_at_once, int64_t multiple) {
    const int64_t N = hidden_ND_.size(0);
    const int64_t fit = logits_at_once / std::max<int64_t>(1, head_.outputs) / multiple * multiple;
    const int64_t rows = std::max(multiple, fit);
    if (learns_ && hidden_ND_.requires_grad()) hidden_gradient_ND_ = empty_like(hidden_ND_);
    for (int64_t begin = 0; begin < N; begin += rows) add(begin, std::min(N, begin + rows));
    return with_gradients();
  }

 private:
  static Tensor empty_like(const Tensor& tensor) {
    return at::empty_like(tensor, tensor.options().requires_grad(false));
  }

  void add(int64_t begin, int64_t end) {
    Tensor hidden_MD = hidden_ND_.detach().slice(0, begin, end);
    if (hidden_gradient_ND_.defined()) hidden_MD.set_requires_grad(true);
    const Tensor logits_MV = [&] {
      const at::AutoGradMode grad_mode(learns_);
      return head_.logits(hidden_MD);
    }();
    check(logits_MV.dim() == 2 && logits_MV.size(0) == end - begin &&
              logits_MV.size(1) == head_.outputs,
          kPlaceOfRows, "expected logits (", end - begin, ", ", head_.outputs, "), got ",
          logits_MV.sizes(), ". Say how many outputs the head has.");
    const at::NoGradGuard no_grad;
    const RowLoss loss = losses_(logits_MV.detach(), begin, logits_MV.requires_grad());
    sum_ += loss.sum;
    if (!logits_MV.requires_grad()) return;
    if (begin == 0) leaves_ = leaves_of(logits_MV, hidden_MD);
    add_gradients(logits_MV, loss.gradient_MV.to(logits_MV.scalar_type()), hidden_MD, begin);
  }

  void add_gradients(const Tensor& logits_MV, const Tensor& gradient_MV, const Tensor& hidden_MD,
                     int64_t begin) {
    variable_list inputs = leaves_;
    if (hidden_MD.requires_grad()) inputs.push_back(hidden_MD);
    if (inputs.empty()) return;
    const auto found =
        torch::autograd::grad({logits_MV}, inputs, {gradient_MV}, /*retain_graph=*/false,
                              /*create_graph=*/false, /*allow_unused=*/true);
    gradients_.resize(leaves_.size());
    for (size_t i = 0; i < leaves_.size(); ++i)
      if (found[i].defined()) gradients_[i].add(found[i]);
    if (hidden_MD.requires_grad())
      hidden_gradient_ND_.slice(0, begin, begin + hidden_MD.size(0)).copy_(found.back());
  }

  Tensor with_gradients() {
    variable_list inputs;
    auto held = c10::make_intrusive<Gradients>();
    for (size_t i = 0; i < gradients_.size(); ++i) {
      if (!gradients_[i].defined()) continue;
      inputs.push_back(leaves_[i]);
      held->of_inputs.emplace_back(std::move(gradients_[i]), leaves_[i].scalar_type());
    }
    if (hidden_gradient_ND_.defined()) {
      inputs.push_back(hidden_ND_);
      GradientSum gradient;
      gradient.add(hidden_gradient_ND_);
      held->of_inputs.emplace_back(std::move(gradient), hidden_ND_.scalar_type());
    }
    gradients_.clear();
    if (inputs.empty()) return sum_;
    return KnownGradients::apply(sum_, at::TensorList(inputs), held);
  }

  const Head& head_;
  const RowLosses& losses_;
  const Tensor hidden_ND_;
  const bool learns_;
  Tensor sum_, hidden_gradient_ND_;
  variable_list leaves_;  // parameters of the head
  std::vector<GradientSum> gradients_;
};

}  // namespace

Tensor chunked_rows(const Head& head, const Tensor& hidden_ND, const RowLosses& losses,
                    int64_t logits_at_once, int64_t multiple) {
  return ChunkedRows(head, hidden_ND, losses).run(logits_at_once, multiple);
}

}  // namespace moe::layers
