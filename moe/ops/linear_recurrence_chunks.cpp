// N sequences of one length, L tokens of each, H heads, C tokens of a chunk, K key width, V value
// width.
#include <algorithm>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/linear_recurrence.h>

namespace moe::ops {

namespace {

/// One chunk of all sequences and heads: q, k (N, H, C, K), v (N, H, C, V), g (N, H, C, 1 or K),
/// rate (N, H, C, 1) or undefined; memory (N, H, K, V) moves on. Returns (N, H, C, V).
Tensor one_chunk(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g,
                 const Tensor& rate, Tensor& memory) {
  const int64_t C = q.size(2);
  const Tensor sum = g.cumsum(2);  // ln of what a memory has shrunk by, from before the chunk
  const Tensor place_C = at::arange(C, g.options().dtype(at::kLong));
  const Tensor later_CC = place_C.unsqueeze(0).gt(place_C.unsqueeze(1));
  // From each token (last dimension but one) back to those before it; never above 0.
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  Tensor keys_CC, seen_CC;
  if (g.size(3) == 1) {
    const Tensor shrunk = (sum - sum.transpose(2, 3)).masked_fill(later_CC, kNever).exp();
    const Tensor turned = k.transpose(2, 3);
    seen_CC = at::matmul(q, turned) * shrunk;
    if (rate.defined()) keys_CC = at::matmul(k, turned) * shrunk;
  } else {
    const Tensor shrunk =
        (sum.unsqueeze(3) - sum.unsqueeze(2)).masked_fill(later_CC.unsqueeze(2), kNever).exp();
    const Tensor faded = shrunk * k.unsqueeze(2);
    seen_CC = at::matmul(faded, q.unsqueeze(4)).squeeze(4);
    if (rate.defined()) keys_CC = at::matmul(faded, k.unsqueeze(4)).squeeze(4);
  }
  const Tensor from_start = sum.exp();
  Tensor u = v;
  if (rate.defined()) {
    // u_t + rate_t sum_{s < t} (k_t . k_s) u_s = rate_t (v_t - S^T k_t): a triangle of equations.
    const Tensor triangle = (keys_CC * rate).tril(-1);
    const Tensor right = rate * (v - at::matmul(k * from_start, memory));
    u = at::linalg_solve_triangular(triangle, right, /*upper=*/false, /*left=*/true,
                                    /*unitriangular=*/true);
  }
  const Tensor o = at::matmul(q * from_start, memory) + at::matmul(seen_CC, u);
  const Tensor total = sum.narrow(2, C - 1, 1);
  const Tensor to_end = (total - sum).exp();
  memory = total.exp().transpose(2, 3) * memory + at::matmul((k * to_end).transpose(2, 3), u);
  return o;
}

/// (N, L, …) -> (N, heads, L, …), each of its groups for the heads of the group.
Tensor of_heads(const Tensor& x_NLGX, int64_t heads) {
  const int64_t G = x_NLGX.size(2);
  const Tensor x_NGLX = x_NLGX.transpose(1, 2);
  return G == heads ? x_NGLX : x_NGLX.repeat_interleave(heads / G, 1);
}

/// All tokens of N sequences of one length; memory (N, H, K, V) moves on.
Tensor equal_lengths(const RecurrenceInputs& in, int64_t N, int64_t chunk, Tensor& memory) {
  const int64_t L = in.v_THV.size(0) / N, H = in.v_THV.size(1);
  const auto rows = [&](const Tensor& x) {
    return of_heads(x.reshape({N, L, x.size(1), x.size(2)}), H);
  };
  const Tensor q = rows(in.q_TGK), k = rows(in.k_TGK), v = rows(in.v_THV),
               g = rows(in.log_decay_THK);
  const Tensor rate = in.rate_TH.defined() ? rows(in.rate_TH.unsqueeze(2)) : Tensor();
  std::vector<Tensor> parts;
  for (int64_t begin = 0; begin < L; begin += chunk) {
    const auto part = [&](const Tensor& x) {
      return x.narrow(2, begin, std::min(chunk, L - begin));
    };
    parts.push_back(
        one_chunk(part(q), part(k), part(v), part(g), rate.defined() ? part(rate) : rate, memory));
  }
  return at::cat(parts, 2).transpose(1, 2).reshape(in.v_THV.sizes());
}

}  // namespace

Tensor linear_recurrence_in_chunks(const RecurrenceInputs& inputs,
                                   const std::vector<int64_t>& offsets_N1,
                                   const Tensor& memory_NHKV, int64_t chunk) {
  // Decays of rows need a table (C, C, K) a head.
  if (chunk == 0) chunk = inputs.log_decay_THK.size(2) == 1 ? 64 : 16;
  const auto N = static_cast<int64_t>(offsets_N1.size()) - 1;
  const int64_t H = inputs.v_THV.size(1), K = inputs.q_TGK.size(2), V = inputs.v_THV.size(2);
  const auto tokens = [&](int64_t begin, int64_t end) {
    const auto part = [&](const Tensor& x) { return x.defined() ? x.slice(0, begin, end) : x; };
    return RecurrenceInputs{part(inputs.q_TGK), part(inputs.k_TGK), part(inputs.v_THV),
                            part(inputs.log_decay_THK), part(inputs.rate_TH)};
  };
  const auto start = [&](int64_t first, int64_t count) {
    return memory_NHKV.defined() ? memory_NHKV.narrow(0, first, count).clone()
                                 : at::zeros({count, H, K, V}, inputs.v_THV.options());
  };
  std::vector<Tensor> parts = {inputs.v_THV.slice(0, 0, 0)};
  for (int64_t n = 0; n < N;) {
    // Neighbours of one length together.
    const int64_t length = offsets_N1[n + 1] - offsets_N1[n];
    int64_t end = n + 1;
    while (end < N && offsets_N1[end + 1] - offsets_N1[end] == length) ++end;
    if (length > 0) {
      Tensor memory = start(n, end - n);
      parts.push_back(
          equal_lengths(tokens(offsets_N1[n], offsets_N1[end]), end - n, chunk, memory));
      if (memory_NHKV.defined()) memory_NHKV.narrow(0, n, end - n).copy_(memory);
    }
    n = end;
  }
  return at::cat(parts, 0);
}

}  // namespace moe::ops
