// T tokens, E experts, B blocks of tokens.
#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/Parallel.h>
#include <ATen/ops/tensor.h>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/kernels.h>
#include <moe/routing/sinkhorn.h>

namespace moe::routing {

namespace {

/// Tokens whose sum one thread makes: blocks, not threads, decide in which order numbers are added.
constexpr int64_t kBlock = 128;
/// Below this a sum of float32 probabilities has lost its digits.
constexpr double kVanished = 1e-30;

/// What the tokens of a block, or all, add up to.
struct Columns {
  std::vector<double> sum_E;   // sum_t q_te, then the number of tokens
  std::vector<double> most_E;  // max_t ln q_te
};

class Sinkhorn {
 public:
  Sinkhorn(const float* logits_TE, int64_t tokens, int64_t experts, parallel::Communicator* group)
      : logits_(logits_TE),
        T_(tokens),
        E_(experts),
        group_(group && group->size() > 1 ? group : nullptr),
        g_E_(static_cast<size_t>(experts), 0.0f),
        usable_T_(static_cast<size_t>(tokens)) {
    for (int64_t t = 0; t < T_; ++t)
      usable_T_[static_cast<size_t>(t)] = std::all_of(logits_ + t * E_, logits_ + (t + 1) * E_,
                                                      [](float l) { return std::isfinite(l); });
  }

  std::vector<float> run(const SinkhornRule& rule) {
    for (int64_t i = 0; i < rule.iterations; ++i)
      if (improve() <= rule.tolerance) break;
    return std::move(g_E_);
  }

 private:
  /// One iteration; returns the largest change. The same on every rank.
  double improve() {
    Columns columns = sums(/*with_most=*/false);
    all_reduce(columns.sum_E, parallel::Reduce::kSum);
    const double tokens = columns.sum_E.back();
    if (tokens == 0) return 0;
    const bool vanished = std::any_of(columns.sum_E.begin(), columns.sum_E.end() - 1,
                                      [](double sum) { return sum < kVanished; });
    if (vanished) {
      columns.most_E = sums(/*with_most=*/true).most_E;
      all_reduce(columns.most_E, parallel::Reduce::kMax);
    }
    double change = 0;
    for (int64_t e = 0; e < E_; ++e) {
      const double sum = columns.sum_E[static_cast<size_t>(e)];
      const double log_sum =
          sum < kVanished ? columns.most_E[static_cast<size_t>(e)] : std::log(sum);
      const double step = std::log(static_cast<double>(E_) / tokens) + log_sum;
      g_E_[static_cast<size_t>(e)] -= static_cast<float>(step);
      change = std::max(change, std::abs(step));
    }
    return change;
  }

  Columns sums(bool with_most) const {
    const int64_t blocks = (T_ + kBlock - 1) / kBlock;
    const auto width = static_cast<size_t>(E_ + 1);
    std::vector<Columns> parts(static_cast<size_t>(blocks));
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> row(static_cast<size_t>(E_));
      for (int64_t b = begin; b < end; ++b) {
        auto& part = parts[static_cast<size_t>(b)];
        part.sum_E.assign(width, 0.0);
        if (with_most) part.most_E.assign(static_cast<size_t>(E_), kNoToken);
        for (int64_t t = b * kBlock; t < std::min(T_, (b + 1) * kBlock); ++t)
          if (usable_T_[static_cast<size_t>(t)]) add(t, row, part, with_most);
      }
    });
    Columns out{std::vector<double>(width, 0.0),
                std::vector<double>(with_most ? static_cast<size_t>(E_) : 0, kNoToken)};
    for (const auto& part : parts) {
      for (size_t e = 0; e < width; ++e) out.sum_E[e] += part.sum_E[e];
      for (size_t e = 0; e < part.most_E.size(); ++e)
        out.most_E[e] = std::max(out.most_E[e], part.most_E[e]);
    }
    return out;
  }

  void add(int64_t t, std::vector<float>& row, Columns& part, bool with_most) const {
    const float* const l = logits_ + t * E_;
    for (int64_t e = 0; e < E_; ++e)
      row[static_cast<size_t>(e)] = l[e] + g_E_[static_cast<size_t>(e)];
    const auto& kernels = ops::cpu::kernels().choice;
    if (with_most) {
      const double whole = kernels.log_sum_exp(E_, row.data());
      for (size_t e = 0; e < row.size(); ++e)
        part.most_E[e] = std::max(part.most_E[e], row[e] - whole);
    }
    kernels.softmax(E_, row.data(), row.data());
    kernels.add_to(E_, row.data(), 1, part.sum_E.data());
    part.sum_E.back() += 1;
  }

  void all_reduce(std::vector<double>& values, parallel::Reduce reduce) const {
    if (!group_) return;
    at::Tensor all = at::tensor(values, at::kDouble);
    group_->all_reduce(all, reduce);
    std::copy_n(all.const_data_ptr<double>(), values.size(), values.begin());
  }

  static constexpr double kNoToken = -std::numeric_limits<double>::max();

  const float* logits_;
  int64_t T_, E_;
  parallel::Communicator* group_;
  std::vector<float> g_E_;
  std::vector<char> usable_T_;
};

}  // namespace

std::vector<float> sinkhorn_potentials(const float* logits_TE, int64_t tokens, int64_t experts,
                                       const SinkhornRule& rule, parallel::Communicator* group) {
  return Sinkhorn(logits_TE, tokens, experts, group).run(rule);
}

}  // namespace moe::routing
