#include <algorithm>
#include <limits>

#include <ATen/ops/full.h>

#include <moe/base/error.h>
#include <moe/parallel/chunks.h>

namespace moe::parallel {

namespace {

std::vector<int64_t> candidates_of(int64_t most_held) {
  std::vector<int64_t> out;
  for (const int64_t number : {1, 2, 4, 8})
    if (number <= std::max<int64_t>(1, most_held)) out.push_back(number);
  return out;
}

}  // namespace

Chunks::Chunks(int64_t number, const std::string& option) : number_(number) {
  check<ConfigError>(number >= 0 && number <= kMost, "config", "expected '", option, "' in [0, ",
                     kMost, "], got ", number, ". 0 lets the run find the fastest.");
}

int64_t Chunks::now() const {
  if (number_ > 0) return number_;
  const auto candidates = candidates_of(most_held_);
  const auto tried = static_cast<int64_t>(candidates.size());
  return tried > 1 && step_ < kRounds * tried ? candidates[static_cast<size_t>(step_ % tried)]
                                              : chosen_;
}

void Chunks::hold(int64_t experts) {
  most_held_ = std::max(most_held_, experts);
}

std::optional<Chunks::Choice> Chunks::end_step(double seconds, Communicator& world) {
  const auto candidates = candidates_of(most_held_);
  const auto tried = static_cast<int64_t>(candidates.size()), trial = kRounds * tried;
  if (number_ > 0 || tried == 1 || world.size() == 1) return std::nullopt;
  const int64_t step = step_++;
  if (step >= trial) {
    if (step_ >= trial + kPeriod) step_ = 0;
    return std::nullopt;
  }
  Tensor slowest = at::full({1}, seconds, at::kDouble);
  world.all_reduce(slowest, Reduce::kMax);
  if (step == 0) least_.assign(candidates.size(), std::numeric_limits<double>::infinity());
  double& least = least_[static_cast<size_t>(step % tried)];
  if (step >= tried) least = std::min(least, slowest.item<double>());
  if (step + 1 < trial) return std::nullopt;
  const auto best = std::ranges::min_element(least_);
  const bool wins = *best < kGain * least_.front();
  chosen_ = wins ? candidates[static_cast<size_t>(best - least_.begin())] : 1;
  return Choice{chosen_, wins ? *best : least_.front(), least_.front()};
}

}  // namespace moe::parallel
