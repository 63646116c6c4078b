// T tokens, E experts.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <utility>

#include <moe/routing/balanced_assignment.h>

namespace moe::routing {

namespace {

constexpr int64_t kLanes = 8;
/// Distances beyond this many epsilons are cut off: prices keep enough digits to tell one apart.
constexpr double kMostEpsilons = 1e6;
constexpr double kScaling = 5;
constexpr double kNothing = -1e300, kUnknown = -1e200;

/// Places that an expert sells: the cheapest one is the next to go.
using Place = std::pair<double, int64_t>;  // price, token that holds it (-1: none)
using Places = std::priority_queue<Place, std::vector<Place>, std::greater<>>;

/// The best and the second best of a row.
struct Best {
  double value = kNothing;
  double second = kNothing;
  int64_t expert = 0;
};

class Auction {
 public:
  Auction(const float* scores_TE, int64_t tokens, int64_t experts, const AuctionRule& rule)
      : T_(tokens),
        E_(experts),
        columns_((experts + kLanes - 1) / kLanes * kLanes),
        bids_left_(tokens * rule.bids_per_token),
        value_(static_cast<size_t>(tokens * columns_), kNothing),
        price_(static_cast<size_t>(columns_), 0.0),
        expert_T_(static_cast<size_t>(tokens), -1) {
    read(scores_TE);
    epsilon_ = scale(rule.epsilon);
    share_out();
  }

  std::vector<int64_t> run() {
    double step = std::max(epsilon_, farthest_ / kScaling);
    while (true) {
      start_round();
      const bool done = sell(step);
      if (step <= epsilon_ || !done) break;
      step = std::max(epsilon_, step / kScaling);
    }
    give_out_the_rest();
    return std::move(expert_T_);
  }

 private:
  double* row(int64_t t) { return value_.data() + t * columns_; }

  /// Scores less the row's best, in (-inf, 0]; which expert is best is all that a token compares.
  void read(const float* scores_TE) {
    constexpr double kLarge = std::numeric_limits<float>::max();
    for (int64_t t = 0; t < T_; ++t) {
      const float* const scores = scores_TE + t * E_;
      double best = -kLarge;
      for (int64_t e = 0; e < E_; ++e)
        if (!std::isnan(scores[e])) best = std::max(best, static_cast<double>(scores[e]));
      best = std::min(best, kLarge);
      for (int64_t e = 0; e < E_; ++e)
        row(t)[e] = std::isnan(scores[e])
                        ? kUnknown
                        : std::clamp(static_cast<double>(scores[e]), -kLarge, kLarge) - best;
      if (std::all_of(row(t), row(t) + E_, [](double v) { return v == kUnknown; }))
        std::fill(row(t), row(t) + E_, 0.0);
    }
  }

  /// Cuts far values off and returns the size of a bid's step.
  double scale(double share) {
    std::vector<double> distance_T;
    for (int64_t t = 0; t < T_; ++t) {
      const double sum = std::accumulate(row(t), row(t) + E_, 0.0);
      if (sum < 0 && sum > kUnknown / 2) distance_T.push_back(-sum / static_cast<double>(E_));
    }
    if (distance_T.empty()) return 1;  // all are equal
    const auto middle = distance_T.begin() + static_cast<int64_t>(distance_T.size() / 2);
    std::nth_element(distance_T.begin(), middle, distance_T.end());
    const double epsilon = std::max(share * *middle, std::numeric_limits<double>::min());
    for (int64_t t = 0; t < T_; ++t)
      for (int64_t e = 0; e < E_; ++e) {
        row(t)[e] = std::max(row(t)[e], -kMostEpsilons * epsilon);
        farthest_ = std::max(farthest_, -row(t)[e]);
      }
    return epsilon;
  }

  /// How many places every expert has.
  void share_out() {
    room_E_.assign(static_cast<size_t>(E_), T_ / E_);
    std::vector<int64_t> liked_E(static_cast<size_t>(E_)), order_E(static_cast<size_t>(E_));
    for (int64_t t = 0; t < T_; ++t)
      ++liked_E[static_cast<size_t>(std::max_element(row(t), row(t) + E_) - row(t))];
    std::iota(order_E.begin(), order_E.end(), 0);
    std::stable_sort(order_E.begin(), order_E.end(), [&](int64_t a, int64_t b) {
      return liked_E[static_cast<size_t>(a)] > liked_E[static_cast<size_t>(b)];
    });
    for (int64_t i = 0; i < T_ % E_; ++i)
      ++room_E_[static_cast<size_t>(order_E[static_cast<size_t>(i)])];
    // Nobody can buy what an expert without places sells.
    for (int64_t e = 0; e < E_; ++e)
      if (room_E_[static_cast<size_t>(e)] == 0)
        for (int64_t t = 0; t < T_; ++t) row(t)[e] = kNothing;
  }

  /// All places free, at the prices that they had.
  void start_round() {
    std::fill(expert_T_.begin(), expert_T_.end(), -1);
    places_E_.assign(static_cast<size_t>(E_), Places());
    for (int64_t e = 0; e < E_; ++e)
      for (int64_t i = 0; i < room_E_[static_cast<size_t>(e)]; ++i)
        places_E_[static_cast<size_t>(e)].emplace(price_[static_cast<size_t>(e)], -1);
  }

  /// Until every token has a place; false when the bids ran out before.
  bool sell(double step) {
    std::vector<int64_t> waiting(static_cast<size_t>(T_));
    for (int64_t t = 0; t < T_; ++t) waiting[static_cast<size_t>(t)] = T_ - 1 - t;
    while (!waiting.empty()) {
      if (--bids_left_ < 0) return false;
      const int64_t t = waiting.back();
      waiting.pop_back();
      const Best best = best_of(t);
      Places& places = places_E_[static_cast<size_t>(best.expert)];
      // The second best offer may be another place of the same expert.
      const auto [price, holder] = places.top();
      places.pop();
      double second = best.second;
      if (!places.empty()) second = std::max(second, best.value + price - places.top().first);
      const double raise = second > kNothing / 2 ? best.value - second : 0;
      places.emplace(price + std::max(raise, 0.0) + step, t);
      price_[static_cast<size_t>(best.expert)] = places.top().first;
      expert_T_[static_cast<size_t>(t)] = best.expert;
      if (holder >= 0) {
        expert_T_[static_cast<size_t>(holder)] = -1;
        waiting.push_back(holder);
      }
    }
    return true;
  }

  /// Of value less price, ties to the lowest id.
  Best best_of(int64_t t) {
    const double* const values = row(t);
    const double* const prices = price_.data();
    double first[kLanes], second[kLanes];
    int64_t block[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) first[l] = second[l] = 2 * kNothing, block[l] = 0;
    for (int64_t e = 0; e < columns_; e += kLanes)
      for (int64_t l = 0; l < kLanes; ++l) {
        const double v = values[e + l] - prices[e + l];
        const bool better = v > first[l];
        second[l] = better ? first[l] : std::max(second[l], v);
        block[l] = better ? e : block[l];
        first[l] = better ? v : first[l];
      }
    Best out{first[0], second[0], block[0]};
    for (int64_t l = 1; l < kLanes; ++l) {
      const int64_t expert = block[l] + l;
      if (first[l] > out.value || (first[l] == out.value && expert < out.expert)) {
        out.second = std::max({out.value, out.second, second[l]});
        out.value = first[l];
        out.expert = expert;
      } else {
        out.second = std::max(out.second, first[l]);
      }
    }
    return out;
  }

  /// Tokens that got no place take the best one left, in their order.
  void give_out_the_rest() {
    std::vector<int64_t> left_E = room_E_;
    for (const int64_t e : expert_T_)
      if (e >= 0) --left_E[static_cast<size_t>(e)];
    for (int64_t t = 0; t < T_; ++t) {
      if (expert_T_[static_cast<size_t>(t)] >= 0) continue;
      int64_t best = -1;
      for (int64_t e = 0; e < E_; ++e)
        if (left_E[static_cast<size_t>(e)] > 0 && (best < 0 || row(t)[e] > row(t)[best])) best = e;
      expert_T_[static_cast<size_t>(t)] = best;
      --left_E[static_cast<size_t>(best)];
    }
  }

  int64_t T_, E_, columns_, bids_left_;
  double epsilon_ = 1, farthest_ = 0;
  std::vector<double> value_, price_;  // columns beyond E are worth nothing
  std::vector<int64_t> expert_T_, room_E_;
  std::vector<Places> places_E_;
};

}  // namespace

std::vector<int64_t> balanced_assignment(const float* scores_TE, int64_t tokens, int64_t experts,
                                         const AuctionRule& rule) {
  if (tokens == 0) return {};
  return Auction(scores_TE, tokens, experts, rule).run();
}

}  // namespace moe::routing
