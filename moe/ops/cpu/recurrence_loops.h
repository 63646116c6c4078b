#pragma once
// The loops of linear_recurrence.h for one head of one sequence. No libtorch here. S tokens of the
// sequence, K key width, V value width.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace moe::ops::cpu {

/// Where the numbers of one head stand: token t's begin t strides behind the pointer.
template <class Scalar>
struct RecurrenceHead {
  int64_t tokens = 0, key_width = 0, value_width = 0;
  /// 1 or key_width.
  int64_t decays = 1;
  const Scalar *q = nullptr, *k = nullptr, *v = nullptr, *log_decay = nullptr;
  const Scalar* rate = nullptr;  // null: without the delta rule
  int64_t key_stride = 0, value_stride = 0, decay_stride = 0, rate_stride = 0;
};

template <class Scalar>
struct RecurrenceGradients {
  Scalar *q = nullptr, *k = nullptr, *v = nullptr, *log_decay = nullptr, *rate = nullptr;
};

/// Sums in a fixed order that vector instructions can follow.
template <class Scalar>
Scalar inner_product(const Scalar* a, const Scalar* b, int64_t n) {
  constexpr int64_t kLanes = 16;
  Scalar lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += a[i + l] * b[i + l];
  Scalar sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (const Scalar lane : lanes) sum += lane;
  return sum;
}

/// One token: memory (K, V) decays and takes it; u (V) is what is added along the key; o (V), if
/// not null, is what is read. decay (K) are the factors of the rows.
template <class Scalar>
void take_token(const RecurrenceHead<Scalar>& head, int64_t t, Scalar* memory, Scalar* decay,
                Scalar* u, Scalar* o) {
  const int64_t K = head.key_width, V = head.value_width;
  const Scalar *q = head.q + t * head.key_stride, *k = head.k + t * head.key_stride;
  const Scalar *v = head.v + t * head.value_stride, *g = head.log_decay + t * head.decay_stride;
  for (int64_t i = 0; i < head.decays; ++i) decay[i] = std::exp(g[i]);
  if (head.decays == 1) std::fill(decay, decay + K, Scalar{decay[0]});
  if (head.rate) {
    std::fill(u, u + V, Scalar{0});
    for (int64_t i = 0; i < K; ++i) {
      Scalar* row = memory + i * V;
      const Scalar factor = decay[i], key = k[i];
      for (int64_t j = 0; j < V; ++j) {
        row[j] *= factor;
        u[j] += key * row[j];
      }
    }
    const Scalar rate = head.rate[t * head.rate_stride];
    for (int64_t j = 0; j < V; ++j) u[j] = rate * (v[j] - u[j]);
  } else {
    for (int64_t i = 0; i < K; ++i)
      for (int64_t j = 0; j < V; ++j) memory[i * V + j] *= decay[i];
    std::copy(v, v + V, u);
  }
  if (o) std::fill(o, o + V, Scalar{0});
  for (int64_t i = 0; i < K; ++i) {
    Scalar* row = memory + i * V;
    const Scalar key = k[i], query = q[i];
    for (int64_t j = 0; j < V; ++j) row[j] += key * u[j];
    if (o)
      for (int64_t j = 0; j < V; ++j) o[j] += query * row[j];
  }
}

/// All tokens; memory (K, V) goes on from what it holds.
template <class Scalar>
void recurrence_forward(const RecurrenceHead<Scalar>& head, Scalar* memory, Scalar* o) {
  std::vector<Scalar> decay(head.key_width), u(head.value_width);
  for (int64_t t = 0; t < head.tokens; ++t)
    take_token(head, t, memory, decay.data(), u.data(), o + t * head.value_stride);
}

/// The gradients of one token, from d_memory (K, V), the gradient of the memory behind it, which
/// becomes that of the memory `before` it.
template <class Scalar>
void token_backward(const RecurrenceHead<Scalar>& head, int64_t t, const Scalar* before,
                    const Scalar* behind, const Scalar* d_o, Scalar* d_memory,
                    const RecurrenceGradients<Scalar>& out, std::vector<Scalar>& scratch) {
  const int64_t K = head.key_width, V = head.value_width;
  const int64_t at_key = t * head.key_stride, at_value = t * head.value_stride;
  const Scalar *q = head.q + at_key, *k = head.k + at_key, *v = head.v + at_value;
  const Scalar* g = head.log_decay + t * head.decay_stride;
  d_o += at_value;
  scratch.assign(static_cast<size_t>(K + 4 * V), Scalar{0});
  Scalar *decay = scratch.data(), *error = decay + K, *u = error + V, *d_u = u + V,
         *d_known = d_u + V;
  for (int64_t i = 0; i < K; ++i) decay[i] = std::exp(g[head.decays == 1 ? 0 : i]);
  const Scalar rate = head.rate ? head.rate[t * head.rate_stride] : Scalar{1};
  // error = v - known, with known = S^T k of the decayed memory.
  if (head.rate)
    for (int64_t i = 0; i < K; ++i)
      for (int64_t j = 0; j < V; ++j) error[j] -= k[i] * (decay[i] * before[i * V + j]);
  for (int64_t j = 0; j < V; ++j) error[j] += v[j];
  for (int64_t j = 0; j < V; ++j) u[j] = rate * error[j];
  for (int64_t i = 0; i < K; ++i) {
    Scalar* d_row = d_memory + i * V;
    out.q[at_key + i] += inner_product(behind + i * V, d_o, V);
    for (int64_t j = 0; j < V; ++j) d_row[j] += q[i] * d_o[j];
    for (int64_t j = 0; j < V; ++j) d_u[j] += k[i] * d_row[j];
    out.k[at_key + i] += inner_product(d_row, u, V);
  }
  if (head.rate) out.rate[t * head.rate_stride] = inner_product(d_u, error, V);
  for (int64_t j = 0; j < V; ++j) out.v[at_value + j] = rate * d_u[j];
  if (head.rate)
    for (int64_t j = 0; j < V; ++j) d_known[j] = -rate * d_u[j];
  Scalar* d_g = out.log_decay + t * head.decay_stride;
  for (int64_t i = 0; i < K; ++i) {
    Scalar* d_row = d_memory + i * V;
    const Scalar* row = before + i * V;
    if (head.rate) {
      out.k[at_key + i] += decay[i] * inner_product(row, d_known, V);
      for (int64_t j = 0; j < V; ++j) d_row[j] += k[i] * d_known[j];
    }
    const Scalar along = decay[i] * inner_product(d_row, row, V);
    d_g[head.decays == 1 ? 0 : i] += along;
    for (int64_t j = 0; j < V; ++j) d_row[j] *= decay[i];
  }
}

/// Adds to the gradients of q, k and log_decay, and sets those of v and rate. Memories are kept at
/// the beginning of every segment and computed again inside it.
template <class Scalar>
void recurrence_backward(const RecurrenceHead<Scalar>& head, const Scalar* d_o,
                         const RecurrenceGradients<Scalar>& out) {
  constexpr int64_t kSegment = 32;
  const int64_t size = head.key_width * head.value_width;
  const int64_t segments = (head.tokens + kSegment - 1) / kSegment;
  std::vector<Scalar> decay(head.key_width), u(head.value_width), scratch, memory(size);
  std::vector<Scalar> starts(segments * size), inside((kSegment + 1) * size), d_memory(size);
  for (int64_t t = 0; t < head.tokens; ++t) {
    if (t % kSegment == 0)
      std::copy(memory.begin(), memory.end(), starts.begin() + t / kSegment * size);
    take_token<Scalar>(head, t, memory.data(), decay.data(), u.data(), nullptr);
  }
  for (int64_t s = segments - 1; s >= 0; --s) {
    const int64_t first = s * kSegment, count = std::min(kSegment, head.tokens - first);
    std::copy_n(starts.begin() + s * size, size, inside.begin());
    for (int64_t i = 0; i < count; ++i) {
      Scalar* const behind = inside.data() + (i + 1) * size;
      std::copy_n(behind - size, size, behind);
      take_token<Scalar>(head, first + i, behind, decay.data(), u.data(), nullptr);
    }
    for (int64_t i = count - 1; i >= 0; --i)
      token_backward(head, first + i, inside.data() + i * size, inside.data() + (i + 1) * size, d_o,
                     d_memory.data(), out, scratch);
  }
}

}  // namespace moe::ops::cpu
