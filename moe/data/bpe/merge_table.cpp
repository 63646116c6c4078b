#include <algorithm>
#include <array>
#include <bit>
#include <functional>

#include <moe/base/error.h>
#include <moe/data/bpe/merge_table.h>

namespace moe::data {

namespace {

/// Up to so many tokens, looking at every pair before each merge is faster than a heap.
constexpr size_t kShortWord = 48;

uint64_t key_of_pair(uint32_t left, uint32_t right) {
  return uint64_t{left} << 32 | right;
}

uint64_t hash_of_pair(uint64_t pair) {
  pair ^= pair >> 29;
  return pair * 0x9E3779B97F4A7C15u;
}

}  // namespace

MergeTable::MergeTable(std::span<const BpeMerge> merges) : MergeTable(merges, {}) {}

MergeTable::MergeTable(std::span<const BpeMerge> merges, std::span<const uint32_t> ranks)
    : entries_(std::bit_ceil(2 * merges.size() + 2), Entry{0, {kNone, 0}}),
      shift_(64 - std::countr_zero(entries_.size())) {
  check(merges.size() < kNone, "data/tokenizer", "expected fewer than ", kNone, " merges, got ",
        merges.size(), ".");
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto& merge = merges[i];
    const uint32_t rank = ranks.empty() ? static_cast<uint32_t>(i) : ranks[i];
    const uint64_t pair = key_of_pair(merge.left, merge.right);
    size_t at = hash_of_pair(pair) >> shift_;
    while (entries_[at].found.rank != kNone) {
      check(entries_[at].pair != pair, "data/tokenizer", "expected every merge once, got ",
            merge.left, " + ", merge.right, " twice. Write the tokenizer again.");
      at = (at + 1) & (entries_.size() - 1);
    }
    entries_[at] = {pair, {rank, merge.result}};
  }
}

MergeTable::Found MergeTable::find(uint32_t left, uint32_t right) const {
  const uint64_t pair = key_of_pair(left, right);
  for (size_t at = hash_of_pair(pair) >> shift_;; at = (at + 1) & (entries_.size() - 1)) {
    const Entry& entry = entries_[at];
    if (entry.pair == pair || entry.found.rank == kNone) return entry.found;
  }
}

void MergeTable::merge(std::vector<uint32_t>& word) const {
  if (word.size() <= kShortWord)
    merge_short(word);
  else
    merge_long(word);
}

void MergeTable::merge_short(std::vector<uint32_t>& word) const {
  std::array<Found, kShortWord> found = {};  // of the pair that begins at each token
  size_t count = word.size();
  for (size_t i = 0; i + 1 < count; ++i) found[i] = find(word[i], word[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i)
      if (found[i].rank < found[best].rank) best = i;
    if (found[best].rank == kNone) break;
    word[best] = found[best].result;
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      word[i] = word[i + 1];
      found[i] = found[i + 1];
    }
    if (best > 0) found[best - 1] = find(word[best - 1], word[best]);
    if (best + 1 < count) found[best] = find(word[best], word[best + 1]);
  }
  word.resize(count);
}

void MergeTable::merge_long(std::vector<uint32_t>& word) const {
  const auto end = static_cast<uint32_t>(word.size());
  check(word.size() < kNone, "data/tokenizer", "expected words of fewer than ", kNone,
        " bytes, got ", word.size(), ". Divide the text.");
  // A list of the tokens left, each with the merge of it and the next; candidates that are no
  // longer that are passed over when they come to the top.
  std::vector<uint32_t> before(end), behind(end);
  std::vector<Found> found(end);
  std::vector<uint64_t> heap;  // rank, then place
  heap.reserve(end);
  const auto look_up = [&](uint32_t i) {
    found[i] = behind[i] == end ? Found{kNone, 0} : find(word[i], word[behind[i]]);
    if (found[i].rank == kNone) return false;
    heap.push_back(uint64_t{found[i].rank} << 32 | i);
    return true;
  };
  for (uint32_t i = 0; i < end; ++i) {
    before[i] = i == 0 ? end : i - 1;
    behind[i] = i + 1;
    look_up(i);
  }
  constexpr std::greater<> kSmallestFirst;
  std::ranges::make_heap(heap, kSmallestFirst);
  while (!heap.empty()) {
    const auto rank = static_cast<uint32_t>(heap.front() >> 32);
    const auto i = static_cast<uint32_t>(heap.front());
    std::ranges::pop_heap(heap, kSmallestFirst);
    heap.pop_back();
    if (found[i].rank != rank) continue;
    const uint32_t next = behind[i];
    word[i] = found[i].result;
    found[next].rank = kNone;
    behind[i] = behind[next];
    if (behind[i] != end) before[behind[i]] = i;
    if (look_up(i)) std::ranges::push_heap(heap, kSmallestFirst);
    if (before[i] != end && look_up(before[i])) std::ranges::push_heap(heap, kSmallestFirst);
  }
  size_t count = 0;
  for (uint32_t i = 0; i < end; i = behind[i]) word[count++] = word[i];
  word.resize(count);
}

}  // namespace moe::data
