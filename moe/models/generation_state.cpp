#include <algorithm>

#include <moe/base/error.h>
#include <moe/models/generation_state.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfState = "models/state";

}  // namespace

GenerationState::GenerationState(std::vector<layers::BlockState> blocks, int64_t capacity)
    : blocks_(std::move(blocks)), capacity_(capacity) {}

int64_t GenerationState::bytes() const {
  int64_t out = 0;
  for (const auto& block : blocks_)
    for (const auto* part : block.parts()) out += part->bytes();
  return out;
}

void GenerationState::join(int64_t count) {
  check(count >= 0, kPlaceOfState, "expected a count of at least 0, got ", count, ". Correct it.");
  for (const auto& block : blocks_)
    for (auto* part : block.parts()) part->join(count);
  lengths_.resize(lengths_.size() + static_cast<size_t>(count));
}

void GenerationState::keep(const std::vector<int64_t>& slots) {
  std::vector<bool> seen(lengths_.size());
  std::vector<int64_t> lengths;
  for (const int64_t slot : slots) {
    check(slot >= 0 && slot < size() && !seen[static_cast<size_t>(slot)], kPlaceOfState,
          "expected each slot once and below ", size(), ", got ", slot,
          ". Name the sequences that stay.");
    seen[static_cast<size_t>(slot)] = true;
    lengths.push_back(lengths_[static_cast<size_t>(slot)]);
  }
  for (const auto& block : blocks_)
    for (auto* part : block.parts()) part->keep(slots);
  lengths_ = std::move(lengths);
}

void GenerationState::leave(int64_t slot) {
  check(slot >= 0 && slot < size(), kPlaceOfState, "expected a slot below ", size(), ", got ", slot,
        ". Name a sequence that is there.");
  std::vector<int64_t> others;
  for (int64_t n = 0; n < size(); ++n)
    if (n != slot) others.push_back(n);
  keep(others);
}

Sequences GenerationState::sequences(const std::vector<int64_t>& fresh) const {
  check(fresh.size() == lengths_.size(), kPlaceOfState,
        "expected how many tokens are new for each of ", size(), " slots, got ", fresh.size(),
        " numbers. Pass one a slot, 0 for none.");
  for (size_t n = 0; n < fresh.size(); ++n)
    check(fresh[n] >= 0 && lengths_[n] + fresh[n] <= capacity_, kPlaceOfState, "expected at most ",
          capacity_, " positions of one sequence, got ", lengths_[n], " and ", fresh[n],
          " new ones. Make a state of larger capacity, or the text shorter.");
  Sequences out = Sequences::of_lengths(fresh);
  out.first_position = lengths_;
  return out;
}

void GenerationState::advance(const Sequences& sequences) {
  check(sequences.count() == size(), kPlaceOfState, "expected a sequence for each of ", size(),
        " slots, got ", sequences.count(), ". Let sequences join and leave first.");
  for (int64_t n = 0; n < size(); ++n) lengths_[static_cast<size_t>(n)] += sequences.runs.length(n);
}

}  // namespace moe::models
