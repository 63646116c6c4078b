#pragma once
// The pairs of neighbours in a set of words, kept up to date while pairs are merged.

#include <cstdint>
#include <optional>
#include <queue>
#include <span>
#include <unordered_map>
#include <vector>

namespace moe::data {

class PairCounts {
 public:
  struct Pair {
    uint32_t left, right;
  };
  struct Counted {
    Pair pair;
    int64_t count;
  };

  /// Adds a word that occurs `count` times. Call it before the other functions.
  void add_word(std::span<const uint32_t> tokens, int64_t count);
  /// Takes the pair that occurs most often, of equals the one with the smaller left, then right
  /// token; nothing when no pair is left. It is not given again unless it is merged and comes anew.
  std::optional<Counted> take_best();
  /// Replaces `pair` by the new token `result` in every word, from left to right. Costs as much as
  /// the words that hold it are long.
  void merge(Pair pair, uint32_t result);

 private:
  /// A word's tokens are at [begin, begin + length) of tokens_; merging shortens it in place.
  struct Word {
    size_t begin;
    uint32_t length;
    int64_t count;
  };
  struct Occurrences {
    int64_t count = 0;
    /// Words that hold the pair, and some that did; may name one twice.
    std::vector<uint32_t> words;
  };
  struct Candidate {
    int64_t count;
    uint64_t key;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : key > other.key;
    }
  };

  static uint64_t key_of(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }
  void gain(uint32_t left, uint32_t right, uint32_t word);
  void lose(uint32_t left, uint32_t right, uint32_t word);
  void merge_in_word(Pair pair, uint32_t result, uint32_t word);
  void fill_queue();

  std::vector<uint32_t> tokens_;
  std::vector<Word> words_;
  std::unordered_map<uint64_t, Occurrences> pairs_;
  /// Every pair stands here with its count or an earlier, higher one, which is put right when it
  /// comes to the top.
  std::priority_queue<Candidate> queue_;
  bool queue_filled_ = false;
  std::vector<uint64_t> gained_;  // by the merge under way
};

}  // namespace moe::data
