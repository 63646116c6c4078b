// T tokens, N pairs, E experts, G groups of tokens.
#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>

#include <moe/ops/cpu/slots.h>

namespace moe::ops::cpu {

namespace {

/// NaN compares false with everything: written so that it ranks last.
template <class Scalar>
bool ranks_above(Scalar a, Scalar b) {
  return a > b || (b != b && a == a);
}

/// Serves one group after another; what it holds serves all of them. `Scalar` is the type of the
/// scores.
template <class Scalar>
class SlotWalk {
 public:
  SlotWalk(const SlotRequests& requests, int64_t* got)
      : requests_(requests),
        E_(requests.num_experts),
        offsets_(requests.offsets_T1.const_data_ptr<int64_t>()),
        experts_(requests.experts_N.const_data_ptr<int64_t>()),
        priority_(requests.priority_T.defined() ? requests.priority_T.const_data_ptr<double>()
                                                : nullptr),
        scores_(requests.scores_TE.defined() ? requests.scores_TE.const_data_ptr<Scalar>()
                                             : nullptr),
        given_(got),
        free_(static_cast<size_t>(E_)),
        has_(static_cast<size_t>(scores_ ? E_ : 0), -1) {}

  void serve(int64_t group) {
    std::fill(free_.begin(), free_.end(), requests_.slots_G.const_data_ptr<int64_t>()[group]);
    if (requests_.taken_GE.defined()) {
      const int64_t* const taken = requests_.taken_GE.const_data_ptr<int64_t>() + group * E_;
      for (int64_t e = 0; e < E_; ++e)
        free_[static_cast<size_t>(e)] =
            std::max<int64_t>(0, free_[static_cast<size_t>(e)] - taken[e]);
    }
    order_tokens(group);
    if (requests_.token_by_token) {
      for (const int64_t t : tokens_) {
        for (int64_t n = offsets_[t]; n < offsets_[t + 1]; ++n) request(t, n);
        move_overflow();
      }
      return;
    }
    for (int64_t choice = 0; !tokens_.empty(); ++choice) {
      std::erase_if(tokens_, [&](int64_t t) { return offsets_[t] + choice >= offsets_[t + 1]; });
      for (const int64_t t : tokens_) request(t, offsets_[t] + choice);
    }
    move_overflow();
  }

 private:
  void order_tokens(int64_t group) {
    const int64_t* const bounds = requests_.groups_G1.const_data_ptr<int64_t>() + group;
    tokens_.resize(static_cast<size_t>(bounds[1] - bounds[0]));
    std::iota(tokens_.begin(), tokens_.end(), bounds[0]);
    if (priority_)
      std::stable_sort(tokens_.begin(), tokens_.end(), [this](int64_t a, int64_t b) {
        return ranks_above(priority_[a], priority_[b]);
      });
  }

  void request(int64_t token, int64_t pair) {
    const int64_t e = experts_[pair];
    given_[pair] = E_;
    if (e < 0 || e >= E_) return;
    auto& left = free_[static_cast<size_t>(e)];
    if (left > 0) {
      --left;
      given_[pair] = e;
    } else if (scores_) {
      overflow_.emplace_back(token, pair);
    }
  }

  /// The pairs in overflow_ take the free slots of other experts.
  void move_overflow() {
    if (overflow_.empty()) return;
    open_.clear();
    for (int64_t e = 0; e < E_; ++e)
      if (free_[static_cast<size_t>(e)] > 0) open_.push_back(e);
    for (const auto& [token, pair] : overflow_) {
      const auto best = best_open(token, pair);
      if (best == open_.end()) continue;
      given_[pair] = *best;
      if (--free_[static_cast<size_t>(*best)] == 0) open_.erase(best);
    }
    overflow_.clear();
  }

  std::vector<int64_t>::iterator best_open(int64_t token, int64_t pair) {
    // Stamps need no clearing: each pair has its own.
    for (int64_t n = offsets_[token]; n < offsets_[token + 1]; ++n)
      if (given_[n] != E_) has_[static_cast<size_t>(given_[n])] = pair;
    const Scalar* row = scores_ + token * E_;
    auto best = open_.end();
    for (auto e = open_.begin(); e != open_.end(); ++e)
      if (has_[static_cast<size_t>(*e)] != pair &&
          (best == open_.end() || ranks_above(row[*e], row[*best])))
        best = e;
    return best;
  }

  const SlotRequests& requests_;
  const int64_t E_;
  const int64_t* offsets_;
  const int64_t* experts_;
  const double* priority_;
  const Scalar* scores_;
  int64_t* given_;
  /// Free slots of each expert.
  std::vector<int64_t> free_;
  /// has_[e] == pair: the token of `pair` has expert e already.
  std::vector<int64_t> has_;
  std::vector<int64_t> tokens_, open_;
  /// (token, pair) whose expert was full.
  std::vector<std::pair<int64_t, int64_t>> overflow_;
};

template <class Scalar>
void serve_groups(const SlotRequests& requests, int64_t* got) {
  const int64_t G = requests.slots_G.size(0), T = requests.offsets_T1.size(0) - 1;
  const int64_t cost = (G > 0 ? T / G : 0) + requests.num_experts;
  at::parallel_for(0, G, std::max<int64_t>(1, 16384 / cost), [&](int64_t begin, int64_t end) {
    SlotWalk<Scalar> walk(requests, got);
    for (int64_t group = begin; group < end; ++group) walk.serve(group);
  });
}

}  // namespace

void assign_slots(const SlotRequests& requests, Tensor& slot_N) {
  int64_t* got = slot_N.mutable_data_ptr<int64_t>();
  if (requests.scores_TE.defined() && requests.scores_TE.scalar_type() == at::kDouble)
    serve_groups<double>(requests, got);
  else
    serve_groups<float>(requests, got);
}

}  // namespace moe::ops::cpu
