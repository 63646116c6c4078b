#pragma once
// Which of many words begin a text.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace moe::data {

/// A tree of words by their bytes. Immutable and thread-safe.
class ByteTrie {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  /// Words with their values; of equal words the last counts, empty ones are left out.
  explicit ByteTrie(std::vector<std::pair<std::string_view, uint32_t>> words = {});

  /// Calls take(length, value) for every word that `text` begins with, shortest first.
  template <class Take>
  void prefixes(std::string_view text, Take&& take) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<uint8_t>(text[i]));
      if (node == kNone) return;
      if (nodes_[node].value != kNone) take(i + 1, nodes_[node].value);
    }
  }
  struct Found {
    size_t length = 0;
    uint32_t value = kNone;
  };
  /// The longest word that `text` begins with; length 0 when there is none.
  Found longest(std::string_view text) const {
    Found out;
    prefixes(text, [&](size_t length, uint32_t value) { out = {length, value}; });
    return out;
  }
  bool may_begin(char first) const { return root_[static_cast<uint8_t>(first)] != kNone; }
  bool empty() const { return nodes_.size() == 1; }

 private:
  struct Node {
    uint32_t first_child = 0;
    uint16_t children = 0;
    uint8_t byte = 0;
    uint32_t value = kNone;
  };

  uint32_t child(uint32_t node, uint8_t byte) const {
    if (node == 0) return root_[byte];
    const Node& parent = nodes_[node];
    uint32_t begin = parent.first_child, end = begin + parent.children;
    while (end - begin > 8) {
      const uint32_t middle = (begin + end) / 2;
      (nodes_[middle].byte <= byte ? begin : end) = middle;
    }
    for (; begin < end; ++begin)
      if (nodes_[begin].byte == byte) return begin;
    return kNone;
  }

  std::array<uint32_t, 256> root_ = {};
  std::vector<Node> nodes_;  // the children of a node stand together, by their bytes
};

}  // namespace moe::data
