// E experts, V vocabulary.
#include <algorithm>
#include <cmath>

#include <moe/analyze/expert_tokens.h>

namespace moe::analyze {

namespace {

/// The first `most` of `tokens` by `rank`, largest first.
template <class Rank>
std::vector<TokenOfExpert> first_by(std::vector<TokenOfExpert> tokens, int64_t most, Rank rank) {
  const auto kept = std::min(static_cast<std::ptrdiff_t>(tokens.size()),
                             static_cast<std::ptrdiff_t>(std::max<int64_t>(most, 0)));
  std::partial_sort(tokens.begin(), tokens.begin() + kept, tokens.end(),
                    [&](const TokenOfExpert& a, const TokenOfExpert& b) {
                      const auto of_a = rank(a), of_b = rank(b);
                      return of_a != of_b ? of_a > of_b : a.token < b.token;
                    });
  tokens.resize(static_cast<size_t>(kept));
  return tokens;
}

double part_of_information(const TokenOfExpert& token) {
  return static_cast<double>(token.pairs) * std::log(token.lift);
}

}  // namespace

std::vector<ExpertTokens> tokens_of_experts(const CountTable& counts_EV, int64_t most) {
  std::vector<ExpertTokens> out(static_cast<size_t>(counts_EV.rows()));
  const auto pairs_E = counts_EV.row_sums(), pairs_V = counts_EV.column_sums();
  const auto N = static_cast<double>(counts_EV.total());
  for (size_t i = 0; i < counts_EV.size();) {
    const auto e = static_cast<size_t>(counts_EV[i].row);
    const auto of_expert = static_cast<double>(pairs_E[e]);
    std::vector<TokenOfExpert> tokens;
    for (; i < counts_EV.size(); ++i) {
      const auto cell = counts_EV[i];
      if (static_cast<size_t>(cell.row) != e) break;
      const auto pairs = static_cast<double>(cell.count);
      const auto of_token = static_cast<double>(pairs_V[static_cast<size_t>(cell.column)]);
      tokens.push_back(
          {cell.column, cell.count, pairs / of_expert, pairs * N / (of_expert * of_token)});
    }
    out[e].pairs = pairs_E[e];
    out[e].distinct = static_cast<int64_t>(tokens.size());
    out[e].frequent = first_by(tokens, most, [](const auto& token) { return token.pairs; });
    std::erase_if(tokens, [](const auto& token) { return !(token.lift > 1); });
    out[e].typical = first_by(std::move(tokens), most, part_of_information);
  }
  return out;
}

}  // namespace moe::analyze
