#include <algorithm>

#include <moe/data/tokenizers/byte_trie.h>

namespace moe::data {

ByteTrie::ByteTrie(std::vector<std::pair<std::string_view, uint32_t>> words) : nodes_(1) {
  root_.fill(kNone);
  std::erase_if(words, [](const auto& word) { return word.first.empty(); });
  std::ranges::stable_sort(words, {}, &std::pair<std::string_view, uint32_t>::first);
  // Level by level: a node stands for the words [begin, end), which share their first bytes.
  struct Open {
    uint32_t node;
    size_t begin, end, length;
  };
  std::vector<Open> level{{0, 0, words.size(), 0}};
  while (!level.empty()) {
    std::vector<Open> next;
    for (const auto& [node, first, end, length] : level) {
      size_t begin = first;
      for (; begin < end && words[begin].first.size() == length; ++begin)
        nodes_[node].value = words[begin].second;
      const auto children = static_cast<uint32_t>(nodes_.size());
      while (begin < end) {
        const auto byte = static_cast<uint8_t>(words[begin].first[length]);
        size_t stop = begin;
        while (stop < end && static_cast<uint8_t>(words[stop].first[length]) == byte) ++stop;
        const auto made = static_cast<uint32_t>(nodes_.size());
        nodes_.push_back({0, 0, byte, kNone});
        if (node == 0) root_[byte] = made;
        next.push_back({made, begin, stop, length + 1});
        begin = stop;
      }
      nodes_[node].first_child = children;
      nodes_[node].children = static_cast<uint16_t>(nodes_.size() - children);
    }
    level = std::move(next);
  }
}

}  // namespace moe::data
