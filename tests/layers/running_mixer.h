#pragma once
// A mixer that goes on from a state. T tokens, S of one sequence, D width, N slots.

#include <memory>
#include <string>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <vector>

#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <moe/layers/mixer.h>

namespace moe::test {

/// A state and how many tokens each slot has seen.
struct RunningMixer {
  std::shared_ptr<layers::Mixer> mixer;
  std::unique_ptr<layers::LayerState> state;
  std::vector<int64_t> lengths;

  RunningMixer(std::shared_ptr<layers::Mixer> of, int64_t capacity, at::ScalarType type)
      : mixer(std::move(of)),
        state(mixer->new_state({.capacity = capacity, .tensors = at::TensorOptions(type)})) {}

  void join(int64_t count) {
    state->join(count);
    lengths.resize(lengths.size() + static_cast<size_t>(count));
  }
  Tensor read(const Tensor& x_TD, const std::vector<int64_t>& fresh) {
    LayerContext context;
    context.tokens.sequences = Sequences::of_lengths(fresh);
    context.tokens.sequences.first_position = lengths;
    const Tensor y_TD = mixer->forward(x_TD, context, state.get());
    for (size_t n = 0; n < fresh.size(); ++n) lengths[n] += fresh[n];
    return y_TD;
  }
};

/// Sequence `x_SD` read alone in pieces that end at `cuts`.
inline Tensor read_in_pieces(const std::shared_ptr<layers::Mixer>& mixer, const Tensor& x_SD,
                             const std::vector<int64_t>& cuts, int64_t capacity) {
  RunningMixer running(mixer, capacity, x_SD.scalar_type());
  running.join(1);
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const int64_t end : cuts) {
    parts.push_back(running.read(x_SD.slice(0, begin, end), {end - begin}));
    begin = end;
  }
  return at::cat(parts, 0);
}

/// A sequence read whole, in pieces of several lengths and one by one, in `type`, gets what it gets
/// in one call without a state.
inline void expect_pieces_equal_one_call(const std::shared_ptr<layers::Mixer>& mixer, int64_t width,
                                         at::ScalarType type, double bound) {
  constexpr int64_t S = 41;
  mixer->to(type);
  const Tensor x_SD = normal({S, width}, 2).to(type), whole_SD = mixer->forward(x_SD, {}, nullptr);
  std::vector<int64_t> ones;
  for (int64_t s = 1; s <= S; ++s) ones.push_back(s);
  for (const std::vector<int64_t>& cuts :
       {std::vector<int64_t>{41}, {3, 4, 41}, {20, 21, 22, 39, 41}, {1, 17, 35, 41}, ones})
    expect_close(read_in_pieces(mixer, x_SD, cuts, S), whole_SD, bound);
}

/// Two sequences that get 3 and 7 of `tokens` tokens in each call get the same float32 bits on 1, 2
/// and 3 threads.
inline void expect_bits_on_any_threads(const std::shared_ptr<layers::Mixer>& mixer, int64_t width,
                                       int64_t tokens) {
  mixer->to(at::kFloat);
  const Tensor x_SD = normal({tokens, width}, 2).to(at::kFloat);
  std::vector<Tensor> found;
  for (const int threads : {1, 2, 3}) {
    const WithThreads with(threads);
    RunningMixer running(mixer, tokens, at::kFloat);
    running.join(2);
    std::vector<Tensor> parts;
    for (int64_t s = 0; s < tokens; s += 10)
      parts.push_back(running.read(x_SD.slice(0, s, s + 10), {3, 7}));
    found.push_back(at::cat(parts));
  }
  expect_identical(found[1], found[0]);
  expect_identical(found[2], found[0]);
}

/// Prompts of several lengths, single tokens and nothing, mixed in calls, while sequences join and
/// leave: in float32 each gets the bits that it gets alone.
inline void expect_bits_of_alone(const std::shared_ptr<layers::Mixer>& mixer, int64_t width) {
  constexpr int64_t kCapacity = 64;
  constexpr size_t kSequences = 6;
  std::vector<Tensor> x, y(kSequences);
  for (size_t i = 0; i < kSequences; ++i)
    x.push_back(normal({kCapacity, width}, 10 + i).to(at::kFloat));
  std::vector<std::vector<int64_t>> cuts(kSequences);
  RunningMixer running(mixer, kCapacity, at::kFloat);
  std::vector<size_t> slots;  // which sequence each is
  const auto call = [&](const std::vector<int64_t>& fresh) {
    std::vector<Tensor> parts;
    for (size_t n = 0; n < slots.size(); ++n)
      parts.push_back(x[slots[n]].slice(0, running.lengths[n], running.lengths[n] + fresh[n]));
    const Tensor y_TD = running.read(at::cat(parts, 0), fresh);
    int64_t begin = 0;
    for (size_t n = 0; n < slots.size(); ++n) {
      const Tensor mine = y_TD.slice(0, begin, begin + fresh[n]);
      y[slots[n]] = y[slots[n]].defined() ? at::cat({y[slots[n]], mine}) : mine;
      if (fresh[n] > 0) cuts[slots[n]].push_back(running.lengths[n]);
      begin += fresh[n];
    }
  };
  const auto join = [&](size_t i) {
    running.join(1);
    slots.push_back(i);
  };
  const auto keep = [&](const std::vector<int64_t>& kept) {
    running.state->keep(kept);
    std::vector<size_t> left;
    std::vector<int64_t> lengths;
    for (const int64_t n : kept) {
      left.push_back(slots[static_cast<size_t>(n)]);
      lengths.push_back(running.lengths[static_cast<size_t>(n)]);
    }
    slots = left;
    running.lengths = lengths;
  };
  join(0), join(1), join(2);
  call({23, 5, 40});
  call({1, 1, 1});
  join(3);
  call({1, 0, 1, 5});
  call({1, 1, 3, 1});
  keep({2, 3, 0});  // another order; 1 leaves
  join(4), join(5);
  call({1, 1, 1, 1, 33});
  call({17, 1, 1, 16, 0});
  keep({4, 1});
  call({1, 20});
  for (size_t i = 0; i < kSequences; ++i)
    expect_identical(y[i], read_in_pieces(mixer, x[i], cuts[i], kCapacity), concat("sequence ", i));
}

}  // namespace moe::test
