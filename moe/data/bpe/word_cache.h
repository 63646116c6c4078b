#pragma once
// The tokens of words met before, one table a thread.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace moe::data {

/// A table of fixed size (2 MiB): a word has one place, and the newest word there stays. Words and
/// lists of tokens that are longer than a slot are not kept.
class WordCache {
 public:
  WordCache() : slots_(kSlots) {}

  /// Tokens of `word` as the owner stored them; empty when it is not here. Valid until `store`.
  std::span<const uint32_t> find(uint32_t owner, std::string_view word) const {
    if (word.size() > kLongest) return {};
    const Slot& slot = slots_[place(owner, word)];
    const bool hit = slot.owner == owner && slot.length == word.size() &&
                     std::memcmp(slot.word.data(), word.data(), word.size()) == 0;
    return hit ? std::span(slot.tokens).first(slot.count) : std::span<const uint32_t>();
  }

  /// `owner` is not 0.
  void store(uint32_t owner, std::string_view word, std::span<const uint32_t> tokens) {
    if (word.size() > kLongest || tokens.size() > kMostTokens) return;
    Slot& slot = slots_[place(owner, word)];
    slot.owner = owner;
    slot.length = static_cast<uint8_t>(word.size());
    slot.count = static_cast<uint8_t>(tokens.size());
    std::memcpy(slot.word.data(), word.data(), word.size());
    std::memcpy(slot.tokens.data(), tokens.data(), tokens.size_bytes());
  }

 private:
  static constexpr size_t kSlots = size_t{1} << 15;
  static constexpr size_t kLongest = 26;
  static constexpr size_t kMostTokens = 8;
  struct Slot {
    uint32_t owner = 0;
    uint8_t length = 0;
    uint8_t count = 0;
    std::array<char, kLongest> word = {};
    std::array<uint32_t, kMostTokens> tokens = {};
  };
  static_assert(sizeof(Slot) == 64, "a slot is a cache line");

  static size_t place(uint32_t owner, std::string_view word) {
    uint64_t hash = owner + word.size() * 0x9E3779B97F4A7C15u;
    for (size_t i = 0; i < word.size(); i += 8) {
      uint64_t part = 0;
      std::memcpy(&part, word.data() + i, std::min<size_t>(8, word.size() - i));
      hash = (hash ^ part) * 0xD6E8FEB86659FD93u;
      hash ^= hash >> 32;
    }
    return hash % kSlots;
  }

  std::vector<Slot> slots_;
};

/// The cache of this thread.
inline WordCache& word_cache_of_thread() {
  thread_local WordCache cache;
  return cache;
}

/// A number that tells the words of one tokenizer from those of another in a cache.
inline uint32_t next_cache_owner() {
  static std::atomic<uint32_t> last = 0;
  return ++last;
}

}  // namespace moe::data
