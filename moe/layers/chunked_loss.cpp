// T tokens, N of them with a target, M rows of a chunk, D width, V vocabulary or classes.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/nonzero.h>

#include <moe/base/error.h>
#include <moe/layers/chunked_rows.h>
#include <moe/ops/sums.h>

namespace moe::layers {

namespace {

constexpr const char* kPlaceOfLoss = "layers/chunked_loss";

at::ScalarType wide(at::ScalarType type) {
  return at::promoteTypes(type, at::kFloat);
}

CrossEntropy entropy_of_rows(const Head& head, const Tensor& hidden_ND, const Tensor& target_N,
                             const CrossEntropyOptions& options) {
  const double smooth = options.label_smoothing;
  const auto V = static_cast<double>(head.outputs);
  CrossEntropy out;
  out.targets = hidden_ND.size(0);
  const auto losses = [&](const Tensor& logits_MV, int64_t begin, bool wants_gradient) -> RowLoss {
    const Tensor target_M = target_N.slice(0, begin, begin + logits_MV.size(0));
    const Tensor target_M1 = target_M.unsqueeze(1);
    Tensor log_p_MV = at::log_softmax(logits_MV, 1, wide(logits_MV.scalar_type()));
    Tensor loss_M = log_p_MV.gather(1, target_M1).squeeze(1).mul_(smooth - 1);
    if (smooth > 0) loss_M -= log_p_MV.sum(1).mul_(smooth / V);
    if (options.count_correct) out.correct += log_p_MV.argmax(1).eq(target_M).sum().item<int64_t>();
    if (!wants_gradient) return {ops::sum_of_all(loss_M), Tensor()};
    Tensor& gradient_MV = log_p_MV.exp_();
    if (smooth > 0) gradient_MV.sub_(smooth / V);
    gradient_MV.scatter_add_(1, target_M1,
                             at::full(target_M1.sizes(), smooth - 1, gradient_MV.options()));
    return {ops::sum_of_all(loss_M), gradient_MV};
  };
  out.sum = chunked_rows(head, hidden_ND, losses, options.logits_at_once);
  return out;
}

}  // namespace

CrossEntropy cross_entropy(const Head& head, const Tensor& hidden_TD, const Tensor& target_T,
                           const CrossEntropyOptions& options) {
  check(hidden_TD.dim() == 2 && target_T.dim() == 1 && hidden_TD.size(0) == target_T.size(0) &&
            target_T.scalar_type() == at::kLong,
        kPlaceOfLoss, "expected hidden (T, D) and int64 targets (T,), got ", hidden_TD.sizes(),
        " and ", target_T.scalar_type(), ' ', target_T.sizes(), ". Give a target for each row.");
  const Tensor counts_T = target_T.ne(options.ignored);
  const Tensor wrong_T = counts_T.logical_and(target_T.lt(0).logical_or(target_T.ge(head.outputs)));
  check(!wrong_T.any().item<bool>(), kPlaceOfLoss, "expected targets in [0, ", head.outputs,
        "), got one outside. Correct the data, or give the head more outputs.");
  if (counts_T.all().item<bool>()) return entropy_of_rows(head, hidden_TD, target_T, options);
  const Tensor row_N = counts_T.nonzero().squeeze(1);
  const Tensor hidden_ND = hidden_TD.index_select(0, row_N);
  return entropy_of_rows(head, hidden_ND, target_T.index_select(0, row_N), options);
}

}  // namespace moe::layers
