#pragma once
// Dividing text at matches, by the rules that tokenizer.json has for what becomes of a match.

#include <optional>
#include <string>
#include <string_view>

#include <moe/data/tokenizers/pre_tokenizers.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

/// A match is a piece of its own, goes away, belongs to the piece before or behind it, or makes one
/// piece with the matches beside it.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Hands stretches of a text on as pieces. Feed all stretches in order, then call finish.
class PieceMaker {
 public:
  PieceMaker(std::string_view text, bool begins, SplitBehavior behavior, TakePiece take)
      : text_(text), begins_(begins), behavior_(behavior), take_(take) {}

  void feed(size_t begin, size_t end, bool match) {
    switch (behavior_) {
      case SplitBehavior::kIsolated:
        return emit(begin, end);
      case SplitBehavior::kRemoved:
        if (!match) emit(begin, end);
        return;
      case SplitBehavior::kMergedWithPrevious:
        return join(begin, end, match, match && !before_);
      case SplitBehavior::kMergedWithNext:
        return join(begin, end, match, !match && before_);
      case SplitBehavior::kContiguous:
        return join(begin, end, match, match == before_);
    }
  }
  void finish() {
    if (held_) emit(held_->first, held_->second);
    held_.reset();
  }

 private:
  void emit(size_t begin, size_t end) {
    take_(text_.substr(begin, end - begin), begins_ && begin == 0);
  }
  void join(size_t begin, size_t end, bool match, bool joins) {
    if (held_ && joins) {
      held_->second = end;
    } else {
      finish();
      held_ = {begin, end};
    }
    before_ = match;
  }

  std::string_view text_;
  bool begins_;
  SplitBehavior behavior_;
  TakePiece take_;
  std::optional<std::pair<size_t, size_t>> held_;
  bool before_ = false;  // whether the stretch before was a match
};

/// Splits at what `divide(text, take(begin, end, match))` finds.
template <class Divide>
class Splitter final : public PreTokenizer {
 public:
  Splitter(Divide divide, SplitBehavior behavior, bool invert = false)
      : divide_(std::move(divide)), behavior_(behavior), invert_(invert) {}
  void split(std::string_view text, bool begins, TakePiece take) const override {
    PieceMaker pieces(text, begins, behavior_, take);
    divide_(text, [&](size_t begin, size_t end, bool match) {
      pieces.feed(begin, end, match != invert_);
    });
    pieces.finish();
  }

 private:
  Divide divide_;
  SplitBehavior behavior_;
  bool invert_;
};

template <class Divide>
std::unique_ptr<PreTokenizer> make_splitter(Divide divide, SplitBehavior behavior,
                                            bool invert = false) {
  return std::make_unique<Splitter<Divide>>(std::move(divide), behavior, invert);
}

/// Calls take(begin, end, whether it is a match) for all stretches of `text`, where every character
/// for which `matches(code)` holds is a match by itself.
template <class Matches, class Take>
void divide_at_characters(std::string_view text, Matches&& matches, Take&& take) {
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const auto [code, length] = first_code_point(text.substr(i));
    if (matches(code)) {
      if (i > done) take(done, i, false);
      take(i, i + length, true);
      done = i + length;
    }
    i += length;
  }
  if (done < text.size()) take(done, text.size(), false);
}

}  // namespace moe::data
