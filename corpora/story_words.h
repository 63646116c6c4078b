#pragma once
// What both story grammars share: properties of things that decide which stories they fit.

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <corpora/draw.h>

namespace moe::corpora {

enum ThingTrait : unsigned {
  kAnyThing = 0,
  kFlies = 1,   // the wind or a throw may carry it off
  kBreaks = 2,  // a fall may break it
  kSmall = 4,   // fits into a pocket or a box
};

/// The items of `list` that have all of `traits`.
template <class List>
auto with_traits(const List& list, unsigned traits) {
  std::vector<const std::decay_t<decltype(list[0])>*> out;
  for (const auto& item : list)
    if ((item.traits & traits) == traits) out.push_back(&item);
  return out;
}

/// `count` different items of `list`, in drawn order.
template <class List>
auto draw_different(const List& list, size_t count, Draw& draw) {
  std::vector<const std::decay_t<decltype(list[0])>*> out;
  while (out.size() < count) {
    const auto* item = &draw.pick(list);
    if (std::find(out.begin(), out.end(), item) == out.end()) out.push_back(item);
  }
  return out;
}

/// Two different children (indexes below `count`, a multiple of kHeldOutPairs) whose pairs with
/// `topic` lie on this document's side of the split. Of each topic's pairs one in kHeldOutPairs is
/// held out, so there are always some.
inline constexpr size_t kHeldOutPairs = 8;
inline std::pair<size_t, size_t> draw_children(size_t count, std::string_view topic, Draw& draw) {
  const auto one = [&] {
    size_t child = 0;
    do child = draw.below(static_cast<uint32_t>(count));
    while (((child + hash_name(topic)) % kHeldOutPairs == 0) != draw.held_out());
    return child;
  };
  const size_t first = one();
  size_t second = one();
  while (second == first) second = one();
  return {first, second};
}

}  // namespace moe::corpora
