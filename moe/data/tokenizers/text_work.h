#pragma once
// A bound for what a tokenizer's file makes of a text.

#include <cstddef>
#include <cstdint>

namespace moe::data {

/// What patterns and replacements may do to one text on this thread while the outermost of these
/// lives: steps taken, characters looked at, bytes written, all in proportion to the text. A
/// pattern of a hostile file that tries very many ways, looks through the rest of the text from
/// every place, or replaces letters by books, throws Error instead.
class TextWork {
 public:
  static constexpr int64_t kStepsOfByte = 400, kStepsOfText = 20'000'000, kStepsOfWrittenByte = 16;

  /// `bytes`: the length of the text as it came.
  explicit TextWork(size_t bytes);
  ~TextWork();
  TextWork(const TextWork&) = delete;
  TextWork& operator=(const TextWork&) = delete;

  /// Takes `steps` from what is left; false when it is used up. True where no TextWork lives.
  static bool spend(int64_t steps);
  /// The same for `bytes` that replace others. Throws Error when nothing is left.
  static void write(size_t bytes);

 private:
  bool outermost_;
};

}  // namespace moe::data
