#pragma once
// Capacity as a list of claims that is sorted and gone through one by one, and routings to try it
// on. T tokens, N pairs, E experts.

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <tests/support/gradcheck.h>
#include <tuple>
#include <vector>

#include <ATen/ops/cat.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include <moe/capacity/capacity.h>

namespace moe::capacity::naive {

/// A factor as a fraction, so that C can be computed in integers.
struct Fraction {
  int64_t above = 1, below = 1;
  double value() const { return static_cast<double>(above) / static_cast<double>(below); }
};

struct Trial {
  Routing routing;
  LayerContext context;
  CapacityOptions options;
  Fraction factor;  // that of the options for this context
  int64_t choices = 1;
  /// Tokens of each group.
  std::vector<int64_t> groups = {};
};

struct Limited {
  std::vector<int64_t> experts;
  std::vector<double> weights;
};

template <class T>
std::vector<T> numbers_of(const Tensor& values) {
  const Tensor flat = values.detach().contiguous();
  return {flat.const_data_ptr<T>(), flat.const_data_ptr<T>() + flat.numel()};
}

/// C of a group of `tokens` tokens.
inline int64_t room_of(const Trial& t, int64_t tokens, int64_t experts) {
  if (t.options.limit > 0) return t.options.limit;
  const int64_t above = t.factor.above * tokens * (t.options.count_k ? t.choices : 1),
                below = t.factor.below * experts, whole = above / below, rest = above % below;
  int64_t room = whole;
  if (t.options.rounding == "ceil") room += rest > 0;
  if (t.options.rounding == "nearest")
    room += 2 * rest > below || (2 * rest == below && whole % 2 == 1);
  return std::max(room, t.options.minimum);
}

/// One pair that asks for room.
struct Claim {
  int64_t token = 0, choice = 0, pair = 0;
  double urgency = 0;
};

inline Limited limited(const Trial& t) {
  const Routing& r = t.routing;
  const int64_t T = r.tokens(), E = r.num_experts;
  const auto offsets = numbers_of<int64_t>(r.offsets), chosen = numbers_of<int64_t>(r.experts_N);
  const auto weights = numbers_of<double>(r.weights_N);
  const RandomStream stream(t.context.random, Purpose::kRouting, 0xffffffff);
  const std::string& order = t.options.order;
  const auto score = [&](int64_t token, int64_t expert) {
    if (!r.noisy_logits_TE.defined()) return r.scores_TE[token][expert].item<double>();
    return at::softmax(r.noisy_logits_TE[token], 0)[expert].item<double>();
  };
  Limited out{std::vector<int64_t>(chosen.size(), E), weights};

  int64_t end = 0;
  for (const int64_t length : t.groups) {
    std::vector<Claim> claims;
    const int64_t first = end;
    end += length;
    for (int64_t token = first; token < end; ++token) {
      double urgency = 0;
      if (order == "random")
        urgency = stream.uniform(static_cast<uint64_t>(t.context.tokens.first_token + token));
      if (order == "priority") urgency = -INFINITY;
      for (int64_t n = offsets[token]; n < offsets[token + 1]; ++n)
        if (order == "priority") urgency = std::max(urgency, weights[n]);
      for (int64_t n = offsets[token]; n < offsets[token + 1]; ++n)
        if (chosen[n] < E) claims.push_back({token, n - offsets[token], n, urgency});
    }
    std::sort(claims.begin(), claims.end(), [&](const Claim& a, const Claim& b) {
      const auto key = [&](const Claim& c) {
        const int64_t turn = order == "token" ? 0 : c.choice;
        return std::tuple(turn, -c.urgency, c.token, c.choice);
      };
      return key(a) < key(b);
    });

    std::map<int64_t, int64_t> taken;
    const int64_t room = room_of(t, length, E);
    std::vector<Claim> waiting;
    const auto move_waiting = [&] {
      for (const Claim& claim : waiting) {
        std::set<int64_t> has;
        for (int64_t n = offsets[claim.token]; n < offsets[claim.token + 1]; ++n)
          has.insert(out.experts[n]);
        std::vector<int64_t> ids(E);
        std::iota(ids.begin(), ids.end(), 0);
        std::stable_sort(ids.begin(), ids.end(), [&](int64_t a, int64_t b) {
          return score(claim.token, a) > score(claim.token, b);
        });
        const auto found = std::find_if(
            ids.begin(), ids.end(), [&](int64_t e) { return taken[e] < room && !has.count(e); });
        if (found == ids.end()) continue;
        ++taken[*found];
        out.experts[claim.pair] = *found;
        const double before = score(claim.token, chosen[claim.pair]);
        out.weights[claim.pair] =
            before == 0 ? 0 : weights[claim.pair] * score(claim.token, *found) / before;
      }
      waiting.clear();
    };
    for (size_t i = 0; i < claims.size(); ++i) {
      const Claim& claim = claims[i];
      const int64_t e = chosen[claim.pair];
      if (taken[e] < room) {
        ++taken[e];
        out.experts[claim.pair] = e;
      } else if (t.options.overflow == "next_best") {
        waiting.push_back(claim);
      }
      const bool token_done = i + 1 == claims.size() || claims[i + 1].token != claim.token;
      if (order == "token" && token_done) move_waiting();
    }
    move_waiting();
  }

  for (size_t n = 0; n < chosen.size(); ++n)
    if (out.experts[n] == E) out.weights[n] = 0;
  for (int64_t token = 0; token < T && t.options.renormalise; ++token) {
    double before = 0, after = 0;
    for (int64_t n = offsets[token]; n < offsets[token + 1]; ++n)
      before += weights[n], after += out.weights[n];
    for (int64_t n = offsets[token]; n < offsets[token + 1] && after != 0; ++n)
      out.weights[n] *= before / after;
  }
  return out;
}

/// Random numbers, one after another.
class Dice {
 public:
  explicit Dice(uint64_t seed) : stream_({.seed = seed, .step = 99}, Purpose::kTest) {}
  int64_t below(int64_t bound) {
    return static_cast<int64_t>(stream_.below(next_++, static_cast<uint64_t>(bound)));
  }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  bool one_in(int64_t n) { return below(n) == 0; }
  template <class T>
  T of(std::vector<T> values) {
    return values[static_cast<size_t>(below(static_cast<int64_t>(values.size())))];
  }
  /// A multiple of 1/4 in [0, 1] half of the time (ties), any number otherwise.
  double score() { return one_in(2) ? below(5) / 4.0 : below(1 << 20) / double(1 << 20); }

 private:
  RandomStream stream_;
  uint64_t next_ = 0;
};

/// K different experts of E in random order.
inline std::vector<int64_t> some_experts(Dice& dice, int64_t experts, int64_t choices) {
  std::vector<int64_t> ids(experts);
  std::iota(ids.begin(), ids.end(), 0);
  for (int64_t i = 0; i < choices; ++i) std::swap(ids[i], ids[dice.between(i, experts - 1)]);
  ids.resize(choices);
  return ids;
}

inline Tensor table(Dice& dice, int64_t tokens, int64_t experts) {
  std::vector<double> values;
  for (int64_t i = 0; i < tokens * experts; ++i) values.push_back(dice.score());
  return at::tensor(values, at::kDouble).reshape({tokens, experts});
}

/// A random routing under random options: 0 to 8 groups of up to 8 tokens, of equal length or not,
/// 1 to 9 experts.
inline Trial trial(uint64_t seed) {
  Dice dice(seed);
  Trial t;
  Routing& r = t.routing;
  const int64_t E = dice.between(1, 9), K = dice.one_in(4) ? E : dice.between(1, E);
  const bool by_tokens = dice.one_in(2), equal = by_tokens || dice.one_in(2);
  const int64_t group = dice.between(1, 8), G = dice.one_in(8) ? 1 : dice.below(9);
  for (int64_t g = 0; g < G; ++g) t.groups.push_back(equal ? group : dice.below(9));
  const int64_t T = std::accumulate(t.groups.begin(), t.groups.end(), int64_t{0});
  const bool ragged = dice.one_in(2);
  std::vector<int64_t> offsets = {0}, experts;
  std::vector<double> weights;
  for (int64_t token = 0; token < T; ++token) {
    for (const int64_t e : some_experts(dice, E, ragged ? dice.below(K + 1) : K)) {
      const bool dropped = dice.one_in(20);
      experts.push_back(dropped ? E : e);
      weights.push_back(dropped ? 0 : dice.score());
    }
    offsets.push_back(static_cast<int64_t>(experts.size()));
  }
  r.num_experts = E;
  r.offsets = at::tensor(offsets, at::kLong);
  r.experts_N = at::tensor(experts, at::kLong);
  r.weights_N = at::tensor(weights, at::kDouble);
  r.scores_TE = table(dice, T, E);
  if (dice.one_in(4)) r.noisy_logits_TE = table(dice, T, E);
  r.choices = ragged ? 0 : K;

  auto& o = t.options;
  o.group_tokens = by_tokens ? group : 0;
  if (!by_tokens) t.context.tokens.sequences = Sequences::of_lengths(t.groups);
  t.context.tokens.first_token = r.first_token = group * dice.below(1000);
  t.context.random = {.seed = seed, .step = seed % 7, .layer = 3};
  t.context.training = dice.one_in(2);
  t.choices = K;
  t.factor = dice.of<Fraction>(
      {{1, 100}, {1, 4}, {1, 2}, {5, 6}, {1, 1}, {11, 10}, {5, 4}, {2, 1}, {1000000, 1}});
  o.count_k = !dice.one_in(3);
  o.rounding = dice.of<std::string>({"ceil", "floor", "nearest"});
  o.minimum = dice.one_in(4) ? 2 : 1;
  o.order = dice.of<std::string>({"choice", "priority", "random", "token"});
  o.overflow = dice.of<std::string>({"drop", "next_best"});
  o.renormalise = dice.one_in(2);
  if (dice.one_in(6))
    o.limit = dice.between(1, 3);
  else
    (t.context.training ? o.factor : o.eval_factor) = t.factor.value();
  return t;
}

/// Tokens begin .. end, as a rank that holds them has them.
inline Routing part_of(const Routing& whole, int64_t begin, int64_t end) {
  const int64_t first = whole.offsets[begin].item<int64_t>(),
                last = whole.offsets[end].item<int64_t>();
  const auto rows = [&](const Tensor& x) { return x.defined() ? x.slice(0, begin, end) : x; };
  Routing part = whole;
  part.offsets = whole.offsets.slice(0, begin, end + 1) - first;
  part.experts_N = whole.experts_N.slice(0, first, last);
  part.weights_N = whole.weights_N.slice(0, first, last);
  part.scores_TE = rows(whole.scores_TE);
  part.noisy_logits_TE = rows(whole.noisy_logits_TE);
  part.first_token = whole.first_token + begin;
  return part;
}

}  // namespace moe::capacity::naive
