#include <moe/base/error.h>
#include <moe/data/tokenizers/text_work.h>

namespace moe::data {

namespace {

thread_local int64_t text_steps_left = 0;
thread_local bool text_steps_counted = false;

}  // namespace

TextWork::TextWork(size_t bytes) : outermost_(!text_steps_counted) {
  if (!outermost_) return;
  text_steps_counted = true;
  text_steps_left = kStepsOfText + kStepsOfByte * static_cast<int64_t>(bytes);
}

TextWork::~TextWork() {
  if (outermost_) text_steps_counted = false;
}

bool TextWork::spend(int64_t steps) {
  if (!text_steps_counted) return true;
  text_steps_left -= steps;
  return text_steps_left >= 0;
}

void TextWork::write(size_t bytes) {
  check(spend(kStepsOfWrittenByte * static_cast<int64_t>(bytes)), "data/tokenizer",
        "expected replacements that keep a text within ", kStepsOfByte / kStepsOfWrittenByte,
        " times its length, got longer ones. Write shorter replacements.");
}

}  // namespace moe::data
