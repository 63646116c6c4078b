// E experts, N sets of them.
#include <algorithm>
#include <numeric>

#include <moe/base/error.h>
#include <moe/cluster/traffic.h>

namespace moe::cluster {

namespace {

constexpr const char* kPlaceOfTraffic = "cluster/traffic";
constexpr int64_t kMostExperts = int64_t{1} << 20;
constexpr size_t kMostSets = size_t{1} << 24;

}  // namespace

int64_t Traffic::tokens() const {
  return std::accumulate(tokens_N.begin(), tokens_N.end(), int64_t{0});
}

int64_t Traffic::pairs() const {
  int64_t out = 0;
  for (size_t n = 0; n < tokens_N.size(); ++n) out += tokens_N[n] * (offset_N[n + 1] - offset_N[n]);
  return out;
}

std::vector<int64_t> Traffic::load_E() const {
  std::vector<int64_t> out(static_cast<size_t>(experts), 0);
  for (size_t n = 0; n < tokens_N.size(); ++n)
    for (int64_t i = offset_N[n]; i < offset_N[n + 1]; ++i)
      out[static_cast<size_t>(expert[static_cast<size_t>(i)])] += tokens_N[n];
  return out;
}

TrafficBuilder::TrafficBuilder(int64_t layer, int64_t experts) : layer_(layer), experts_(experts) {
  check(experts >= 1 && experts <= kMostExperts, kPlaceOfTraffic, "expected experts in [1, ",
        kMostExperts, "], got ", experts, ". Look at another layer.");
}

void TrafficBuilder::add(std::vector<int32_t> experts, int64_t tokens) {
  if (experts.empty() || tokens == 0) return;
  std::ranges::sort(experts);
  check(experts.front() >= 0 && experts.back() < experts_, kPlaceOfTraffic,
        "expected experts in [0, ", experts_, "), got ",
        experts.front() < 0 ? experts.front() : experts.back(), ". Correct the trace.");
  check(std::ranges::adjacent_find(experts) == experts.end(), kPlaceOfTraffic,
        "expected each expert of a token once, got one twice. Correct the trace.");
  tokens_[std::move(experts)] += tokens;
  check(tokens_.size() <= kMostSets, kPlaceOfTraffic, "expected at most ", kMostSets,
        " different sets of experts, found more. Look at fewer batches.");
}

Traffic TrafficBuilder::finish() && {
  Traffic out;
  out.layer = layer_;
  out.experts = experts_;
  for (const auto& [experts, tokens] : tokens_) {
    out.expert.insert(out.expert.end(), experts.begin(), experts.end());
    out.offset_N.push_back(static_cast<int64_t>(out.expert.size()));
    out.tokens_N.push_back(tokens);
  }
  return out;
}

}  // namespace moe::cluster
