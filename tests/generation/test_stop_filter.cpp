#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <moe/base/random.h>
#include <moe/generation/stop_filter.h>

#include "tests/support/message_of.h"

namespace moe::generation {
namespace {

/// What comes out when `text` comes in pieces of `size` bytes, and whether a stop was found.
std::pair<std::string, bool> filter(const std::vector<std::string>& stops, const std::string& text,
                                    size_t size) {
  StopFilter filter(stops);
  std::string out;
  for (size_t i = 0; i < text.size(); i += size) out += filter.push(text.substr(i, size));
  return {out + filter.flush(), filter.stopped()};
}

/// The same by definition: the stop string that ends first, the longest of those.
std::pair<std::string, bool> naive(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string_view seen(text.data(), end);
    size_t longest = 0;
    for (const auto& stop : stops)
      if (seen.ends_with(stop)) longest = std::max(longest, stop.size());
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

TEST(StopFilter, WithoutStopsEverythingPassesAtOnce) {
  StopFilter filter({});
  EXPECT_EQ(filter.push("abc"), "abc");
  EXPECT_EQ(filter.flush(), "");
  EXPECT_FALSE(filter.stopped());
}

TEST(StopFilter, HoldsBackWhatMayBecomeAStop) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.push("textE"), "text");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("E"), "EN");  // "ENE": only the last E may begin one
  EXPECT_EQ(filter.push("ND rest"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("END"), "");
  EXPECT_EQ(filter.flush(), "");
}

TEST(StopFilter, GivesBackWhatDidNotBecomeAStop) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.push("xEN"), "x");
  EXPECT_EQ(filter.flush(), "EN");
  EXPECT_FALSE(filter.stopped());
}

TEST(StopFilter, OfOverlappingStopsTheFirstCompleteCounts) {
  EXPECT_EQ(filter({"abcd", "bc"}, "xabcd", 1), (std::pair<std::string, bool>{"xa", true}));
  EXPECT_EQ(filter({"c", "abc"}, "xabcd", 1), (std::pair<std::string, bool>{"x", true}));
}

TEST(StopFilter, FindsStopsThatRepeatTheirBeginning) {
  EXPECT_EQ(filter({"aab"}, "aaab!", 1), (std::pair<std::string, bool>{"a", true}));
}

TEST(StopFilter, IsAsTheNaiveOneForEverySizeOfPieces) {
  // Few letters, so that stops and near-stops are frequent.
  const RandomStream stream(RandomKey{.seed = 3}, Purpose::kTest);
  uint64_t next = 0;
  const auto word = [&](uint64_t longest) {
    std::string out;
    const uint64_t length = 1 + stream.below(next++, longest);
    for (uint64_t i = 0; i < length; ++i)
      out += static_cast<char>('a' + static_cast<char>(stream.below(next++, 3)));
    return out;
  };
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> stops;
    for (uint64_t i = stream.below(next++, 3) + 1; i > 0; --i) stops.push_back(word(4));
    const std::string text = word(30);
    for (const size_t size : {1, 2, 3, 100})
      ASSERT_EQ(filter(stops, text, size), naive(stops, text))
          << text << " in pieces of " << size << ", first stop " << stops.front();
  }
}

TEST(StopFilter, RefusesEmptyStops) {
  EXPECT_THROW(StopFilter({"a", ""}), ConfigError);
  EXPECT_ERROR(StopFilter({""}), "at least one byte");
}

}  // namespace
}  // namespace moe::generation
