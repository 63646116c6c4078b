// Linear recurrences and selective scans against plain loops. T tokens, N sequences, H heads, G
// groups, K key width, V value width, I channels, S numbers of state.
#include <cmath>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <moe/ops/linear_recurrence.h>
#include <moe/ops/selective_scan.h>

namespace moe::ops::recurrences_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_gradients;
using moe::test::expect_identical;
using moe::test::normal;

constexpr int64_t T = 23, G = 2, H = 4, K = 3, V = 5;
const std::vector<int64_t> kOffsets = {0, 9, 9, 10, 23};  // one of no token

struct Form {
  std::string name;
  bool by_row, delta;
};
const std::vector<Form> kForms = {{"one decay", false, false},
                                  {"one decay, delta rule", false, true},
                                  {"a decay a row", true, false},
                                  {"a decay a row, delta rule", true, true}};

/// q, k, v, log decays at most 0 and, for the delta rule, rates in (0, 1).
std::vector<Tensor> numbers(const Form& form, int64_t tokens = T) {
  std::vector<Tensor> out = {normal({tokens, G, K}, 1), normal({tokens, G, K}, 2),
                             normal({tokens, H, V}, 3),
                             -normal({tokens, H, form.by_row ? K : 1}, 4).abs()};
  if (form.delta) out.push_back(normal({tokens, H}, 5).sigmoid());
  return out;
}

RecurrenceInputs inputs_of(const std::vector<Tensor>& x) {
  return {x[0], x[1], x[2], x[3], x.size() > 4 ? x[4] : Tensor()};
}

RecurrenceInputs slice(const RecurrenceInputs& x, int64_t begin, int64_t end) {
  const auto part = [&](const Tensor& y) { return y.defined() ? y.slice(0, begin, end) : y; };
  return {part(x.q_TGK), part(x.k_TGK), part(x.v_THV), part(x.log_decay_THK), part(x.rate_TH)};
}

/// Token by token, number by number; memory_HKV moves on.
Tensor naive(const RecurrenceInputs& x, Tensor& memory_HKV) {
  const int64_t tokens = x.v_THV.size(0);
  Tensor o = at::zeros({tokens, H, V}, at::kDouble);
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t h = 0; h < H; ++h) {
      const Tensor q = x.q_TGK[t][h / (H / G)], k = x.k_TGK[t][h / (H / G)], v = x.v_THV[t][h];
      Tensor S = memory_HKV[h];
      for (int64_t i = 0; i < K; ++i)
        S[i] *=
            std::exp(x.log_decay_THK[t][h][x.log_decay_THK.size(2) == 1 ? 0 : i].item<double>());
      for (int64_t j = 0; j < V; ++j) {
        double known = 0;
        for (int64_t i = 0; i < K; ++i) known += S[i][j].item<double>() * k[i].item<double>();
        double u = v[j].item<double>();
        if (x.rate_TH.defined()) u = x.rate_TH[t][h].item<double>() * (u - known);
        for (int64_t i = 0; i < K; ++i) S[i][j] += k[i] * u;
        for (int64_t i = 0; i < K; ++i) o[t][h][j] += S[i][j] * q[i];
      }
    }
  return o;
}

Tensor naive_of_sequences(const RecurrenceInputs& x, Tensor* memories = nullptr) {
  std::vector<Tensor> parts;
  for (size_t n = 0; n + 1 < kOffsets.size(); ++n) {
    Tensor memory =
        memories ? (*memories)[static_cast<int64_t>(n)] : at::zeros({H, K, V}, at::kDouble);
    parts.push_back(naive(slice(x, kOffsets[n], kOffsets[n + 1]), memory));
  }
  return at::cat(parts, 0);
}

TEST(LinearRecurrence, EqualsPlainLoopsInLoopsAndInChunks) {
  for (const Form& form : kForms) {
    SCOPED_TRACE(form.name);
    const auto x = inputs_of(numbers(form));
    const Tensor expected = naive_of_sequences(x);
    expect_close(linear_recurrence(x, kOffsets), expected, 1e-13);
    for (const int64_t chunk : {0, 1, 2, 5, 64})
      expect_close(linear_recurrence_in_chunks(x, kOffsets, {}, chunk), expected, 1e-12,
                   concat("chunks of ", chunk));
  }
}

TEST(LinearRecurrence, GoesOnFromMemories) {
  for (const Form& form : kForms) {
    SCOPED_TRACE(form.name);
    const auto x = inputs_of(numbers(form));
    const Tensor start = normal({4, H, K, V}, 6);
    Tensor expected_memory = start.clone(), memory = start.clone(), of_chunks = start.clone();
    const Tensor expected = naive_of_sequences(x, &expected_memory);
    expect_close(linear_recurrence(x, kOffsets, memory), expected, 1e-13);
    expect_close(memory, expected_memory, 1e-13);
    expect_close(linear_recurrence_in_chunks(x, kOffsets, of_chunks, 4), expected, 1e-12);
    expect_close(of_chunks, expected_memory, 1e-12);
  }
}

TEST(LinearRecurrence, GradientsEqualCentralDifferences) {
  for (const Form& form : kForms) {
    SCOPED_TRACE(form.name);
    const std::vector<int64_t> offsets = {0, 2, 7};
    expect_gradients(
        [&](const std::vector<Tensor>& in) { return linear_recurrence(inputs_of(in), offsets); },
        numbers(form, 7));
    expect_gradients(
        [&](const std::vector<Tensor>& in) {
          return linear_recurrence_in_chunks(inputs_of(in), offsets, {}, 3);
        },
        numbers(form, 7));
  }
}

/// Sequences longer than a segment of the backward pass.
TEST(LinearRecurrence, LongSequencesHaveTheGradientsOfChunks) {
  for (const Form& form : kForms) {
    SCOPED_TRACE(form.name);
    const std::vector<int64_t> offsets = {0, 70, 150};
    const auto gradients = [&](const auto& run) {
      auto leaves = numbers(form, 150);
      for (Tensor& leaf : leaves) leaf.set_requires_grad(true);
      const Tensor y = run(inputs_of(leaves));
      (y * normal(y.sizes(), 8)).sum().backward();
      std::vector<Tensor> out;
      for (const Tensor& leaf : leaves) out.push_back(leaf.grad());
      return out;
    };
    const auto loops = gradients([&](const auto& x) { return linear_recurrence(x, offsets); });
    const auto chunks =
        gradients([&](const auto& x) { return linear_recurrence_in_chunks(x, offsets); });
    for (size_t i = 0; i < loops.size(); ++i) expect_close(loops[i], chunks[i], 1e-10);
  }
}

TEST(LinearRecurrence, ASequenceHasTheSameBitsAlone) {
  for (const Form& form : kForms) {
    SCOPED_TRACE(form.name);
    auto x = numbers(form);
    for (Tensor& tensor : x) tensor = tensor.to(at::kFloat);
    const auto in = inputs_of(x);
    const moe::test::WithThreads threads(2);
    const Tensor all = linear_recurrence(in, kOffsets);
    for (size_t n = 0; n + 1 < kOffsets.size(); ++n) {
      const int64_t begin = kOffsets[n], end = kOffsets[n + 1];
      expect_identical(linear_recurrence(slice(in, begin, end), {0, end - begin}),
                       all.slice(0, begin, end));
    }
  }
}

TEST(LinearRecurrence, RefusesWhatDoesNotFit) {
  auto x = inputs_of(numbers(kForms[1]));
  EXPECT_ERROR(linear_recurrence(x, {0, 5}), "expected q and k (T, G, K)");
  EXPECT_ERROR(linear_recurrence(x, kOffsets, at::zeros({4, H, K, V}, at::kFloat)),
               "expected memories [4, 4, 3, 5] of type Double");
}

constexpr int64_t I = 37, S = 3;  // more than one block of channels

std::vector<Tensor> scan_numbers(int64_t tokens, int64_t channels = I) {
  return {normal({tokens, channels}, 1), normal({tokens, channels}, 2).abs(),
          -normal({channels, S}, 3).exp(), normal({tokens, S}, 4), normal({tokens, S}, 5)};
}

ScanInputs scan_of(const std::vector<Tensor>& x) {
  return {x[0], x[1], x[2], x[3], x[4]};
}

/// state_NIS moves on.
Tensor naive_scan(const ScanInputs& x, Tensor state_NIS) {
  std::vector<Tensor> y;
  for (size_t n = 0; n + 1 < kOffsets.size(); ++n) {
    Tensor s = state_NIS[static_cast<int64_t>(n)];
    for (int64_t t = kOffsets[n]; t < kOffsets[n + 1]; ++t) {
      const Tensor dt = x.dt_TI[t].unsqueeze(1);
      s.copy_((dt * x.a_IS).exp() * s + dt * x.x_TI[t].unsqueeze(1) * x.b_TS[t]);
      y.push_back((s * x.c_TS[t]).sum(1));
    }
  }
  return at::stack(y, 0);
}

TEST(SelectiveScan, EqualsItsFormulaInLoopsAndInChunks) {
  const auto x = scan_of(scan_numbers(T));
  const Tensor zero = at::zeros({4, I, S}, at::kDouble), start = normal({4, I, S}, 6);
  const Tensor expected = naive_scan(x, zero.clone());
  expect_close(selective_scan(x, kOffsets), expected, 1e-13);
  for (const int64_t chunk : {1, 3, 8, 64})
    expect_close(selective_scan_in_chunks(x, kOffsets, {}, chunk), expected, 1e-12);
  Tensor of_naive = start.clone(), of_loops = start.clone(), of_chunks = start.clone();
  const Tensor going_on = naive_scan(x, of_naive);
  expect_close(selective_scan(x, kOffsets, of_loops), going_on, 1e-13);
  expect_close(of_loops, of_naive, 1e-13);
  expect_close(selective_scan_in_chunks(x, kOffsets, of_chunks, 5), going_on, 1e-12);
  expect_close(of_chunks, of_naive, 1e-12);
}

TEST(SelectiveScan, GradientsEqualCentralDifferences) {
  const std::vector<int64_t> offsets = {0, 2, 2, 6};
  expect_gradients(
      [&](const std::vector<Tensor>& in) { return selective_scan(scan_of(in), offsets); },
      scan_numbers(6, 34));
  expect_gradients(
      [&](const std::vector<Tensor>& in) {
        return selective_scan_in_chunks(scan_of(in), offsets, {}, 3);
      },
      scan_numbers(6, 4));
}

TEST(SelectiveScan, ASequenceHasTheSameBitsAlone) {
  auto x = scan_numbers(T);
  for (Tensor& tensor : x) tensor = tensor.to(at::kFloat);
  const moe::test::WithThreads threads(2);
  const Tensor all = selective_scan(scan_of(x), kOffsets);
  for (size_t n = 0; n + 1 < kOffsets.size(); ++n) {
    const auto part = [&](const Tensor& y) { return y.slice(0, kOffsets[n], kOffsets[n + 1]); };
    const ScanInputs alone = {part(x[0]), part(x[1]), x[2], part(x[3]), part(x[4])};
    expect_identical(selective_scan(alone, {0, kOffsets[n + 1] - kOffsets[n]}), part(all));
  }
}

TEST(SelectiveScan, RefusesWhatDoesNotFit) {
  const auto x = scan_of(scan_numbers(T));
  EXPECT_ERROR(selective_scan(x, {0, 5}), "expected x and dt (T, I)");
  EXPECT_ERROR(selective_scan(x, kOffsets, at::zeros({1, I, S}, at::kDouble)), "expected states");
}

}  // namespace

}  // namespace moe::ops::recurrences_test
