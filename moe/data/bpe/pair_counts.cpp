#include <algorithm>

#include <moe/data/bpe/pair_counts.h>

namespace moe::data {

void PairCounts::gain(uint32_t left, uint32_t right, uint32_t word) {
  const uint64_t key = key_of(left, right);
  Occurrences& pair = pairs_[key];
  pair.count += words_[word].count;
  if (pair.words.empty() || pair.words.back() != word) pair.words.push_back(word);
  if (queue_filled_) gained_.push_back(key);
}

void PairCounts::lose(uint32_t left, uint32_t right, uint32_t word) {
  const auto pair = pairs_.find(key_of(left, right));
  // The pair being merged is taken out of pairs_ already; its own overlaps do not count.
  if (pair == pairs_.end()) return;
  pair->second.count -= words_[word].count;
  if (pair->second.count == 0) pairs_.erase(pair);
}

void PairCounts::add_word(std::span<const uint32_t> tokens, int64_t count) {
  const auto word = static_cast<uint32_t>(words_.size());
  words_.push_back({tokens_.size(), static_cast<uint32_t>(tokens.size()), count});
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  for (size_t i = 0; i + 1 < tokens.size(); ++i) gain(tokens[i], tokens[i + 1], word);
}

void PairCounts::fill_queue() {
  std::vector<Candidate> all;
  all.reserve(pairs_.size());
  for (const auto& [key, pair] : pairs_) all.push_back({pair.count, key});
  queue_ = std::priority_queue<Candidate>(std::less<Candidate>(), std::move(all));
  queue_filled_ = true;
}

std::optional<PairCounts::Counted> PairCounts::take_best() {
  if (!queue_filled_) fill_queue();
  while (!queue_.empty()) {
    const Candidate best = queue_.top();
    queue_.pop();
    const auto pair = pairs_.find(best.key);
    if (pair == pairs_.end()) continue;
    const int64_t count = pair->second.count;
    if (count == best.count)
      return Counted{{static_cast<uint32_t>(best.key >> 32), static_cast<uint32_t>(best.key)},
                     count};
    queue_.push({count, best.key});
  }
  return std::nullopt;
}

void PairCounts::merge_in_word(Pair pair, uint32_t result, uint32_t word) {
  uint32_t* const tokens = tokens_.data() + words_[word].begin;
  const uint32_t length = words_[word].length;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < length; ++kept) {
    if (i + 1 == length || tokens[i] != pair.left || tokens[i + 1] != pair.right) {
      tokens[kept] = tokens[i++];
      continue;
    }
    if (kept > 0) {
      lose(tokens[kept - 1], pair.left, word);
      gain(tokens[kept - 1], result, word);
    }
    if (i + 2 < length) {
      lose(pair.right, tokens[i + 2], word);
      gain(result, tokens[i + 2], word);
    }
    tokens[kept] = result;
    i += 2;
  }
  words_[word].length = kept;
}

void PairCounts::merge(Pair pair, uint32_t result) {
  const auto node = pairs_.extract(key_of(pair.left, pair.right));
  if (node.empty()) return;
  gained_.clear();
  for (const uint32_t word : node.mapped().words) merge_in_word(pair, result, word);
  std::ranges::sort(gained_);
  const auto repeated = std::ranges::unique(gained_);
  gained_.erase(repeated.begin(), repeated.end());
  for (const uint64_t key : gained_)
    if (const auto found = pairs_.find(key); found != pairs_.end())
      queue_.push({found->second.count, key});
}

}  // namespace moe::data
