#pragma once
// What one generated document is drawn from: a counter-based stream, so that document i of a domain
// depends on the seed and on i alone, and the side of the train/validation split that its content
// must fall on.

#include <array>
#include <concepts>
#include <cstdint>
#include <iterator>
#include <string_view>

#include <moe/base/random.h>

namespace moe::corpora {

class Draw {
 public:
  /// One content in this many belongs to validation.
  static constexpr uint64_t kHeldOutOneIn = 10;

  Draw(const RandomStream& stream, bool held_out) : stream_(stream), held_out_(held_out) {}

  /// Uniform in [0, bound).
  uint32_t below(uint32_t bound) {
    if (used_ % 4 == 0) words_ = stream_.block(used_ / 4);
    return static_cast<uint32_t>((uint64_t{words_[used_++ % 4]} * bound) >> 32);
  }
  /// Uniform in [low, high].
  int64_t between(int64_t low, int64_t high) {
    return low + below(static_cast<uint32_t>(high - low + 1));
  }
  bool chance(uint32_t percent) { return below(100) < percent; }
  template <class List>
  const auto& pick(const List& list) {
    return std::data(list)[below(static_cast<uint32_t>(std::size(list)))];
  }

  bool held_out() const { return held_out_; }
  /// True when `content` (a name for what makes a document new: a hero and an object, two operands,
  /// the constants of a program) lies on this document's side of the split. Depends on the text
  /// alone, not on the seed.
  bool wants(std::string_view content) const {
    return ((hash_name(content) >> 20) % kHeldOutOneIn == 0) == held_out_;
  }
  /// `make()` repeated until `content(made)` lies on this document's side.
  template <std::invocable Make, class Content>
  auto until_wanted(Make make, Content content) {
    auto made = make();
    while (!wants(content(made))) made = make();
    return made;
  }

 private:
  RandomStream stream_;
  bool held_out_;
  uint64_t used_ = 0;
  std::array<uint32_t, 4> words_{};
};

}  // namespace moe::corpora
