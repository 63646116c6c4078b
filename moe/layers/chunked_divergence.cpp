// T tokens, N of them with a target, M pairs of rows of a chunk, D width, V vocabulary or classes.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/nonzero.h>
#include <ATen/ops/stack.h>

#include <moe/base/error.h>
#include <moe/layers/chunked_divergence.h>
#include <moe/layers/chunked_rows.h>
#include <moe/ops/sums.h>

namespace moe::layers {

Tensor symmetric_divergence(const Head& head, const Tensor& first_TD, const Tensor& second_TD,
                            const Tensor& target_T, const CrossEntropyOptions& options) {
  check(first_TD.dim() == 2 && first_TD.sizes() == second_TD.sizes() && target_T.dim() == 1 &&
            target_T.size(0) == first_TD.size(0) && target_T.scalar_type() == at::kLong,
        "layers/chunked_divergence", "expected hidden (T, D) twice and int64 targets (T,), got ",
        first_TD.sizes(), ", ", second_TD.sizes(), " and ", target_T.scalar_type(), ' ',
        target_T.sizes(), ". Run the same rows twice.");
  const Tensor row_N = target_T.ne(options.ignored).nonzero().squeeze(1);
  // Rows that belong together stand together, so that a chunk has both.
  const Tensor hidden_ND =
      at::stack({first_TD.index_select(0, row_N), second_TD.index_select(0, row_N)}, 1)
          .reshape({-1, first_TD.size(1)});
  const auto losses = [&](const Tensor& logits_MV, int64_t, bool wants_gradient) -> RowLoss {
    const auto type = at::promoteTypes(logits_MV.scalar_type(), at::kFloat);
    const Tensor log_M2V = at::log_softmax(logits_MV, 1, type).view({-1, 2, head.outputs});
    const Tensor log_p_MV = log_M2V.select(1, 0), log_q_MV = log_M2V.select(1, 1);
    const Tensor p_MV = log_p_MV.exp(), q_MV = log_q_MV.exp();
    const Tensor apart_MV = log_p_MV - log_q_MV, more_MV = p_MV - q_MV;
    const Tensor sum = ops::sum_of_all((more_MV * apart_MV).sum(1)) / 2;
    if (!wants_gradient) return {sum, Tensor()};
    // dKL(p || q) / dlogits of p = p (ln p - ln q - KL(p || q)); of q = q - p.
    const Tensor forward_M1 = (p_MV * apart_MV).sum(1, /*keepdim=*/true);
    const Tensor backward_M1 = -(q_MV * apart_MV).sum(1, /*keepdim=*/true);
    Tensor gradient_M2V = at::empty_like(log_M2V);
    gradient_M2V.select(1, 0).copy_((p_MV * (apart_MV - forward_M1) + more_MV) / 2);
    gradient_M2V.select(1, 1).copy_((q_MV * (-apart_MV - backward_M1) - more_MV) / 2);
    return {sum, gradient_M2V.view(logits_MV.sizes())};
  };
  return chunked_rows(head, hidden_ND, losses, options.logits_at_once, /*multiple=*/2);
}

}  // namespace moe::layers
