#pragma once
// A small byte-level BPE vocabulary for tests.

#include <string>
#include <vector>

#include <moe/data/bpe/bpe_trainer.h>

namespace moe::test {

/// What training on `text` gives.
inline data::BpeModel tiny_bpe(const std::string& text, int64_t vocabulary,
                               const std::vector<std::string>& special = {}) {
  data::BpeTrainer trainer({.vocabulary = vocabulary, .special = special});
  trainer.add(text);
  return trainer.train();
}

/// Text with words in several scripts, numbers, contractions and runs of white space.
inline std::string mixed_text() {
  std::string out;
  for (int i = 0; i < 40; ++i)
    out += "The cat's hat isn't where we've left it, they'll say in " + std::to_string(1990 + i) +
           ".\n\nŞu çocuğun ağaçtaki kuşları gördüğünü söylediler.  Москва, Αθήνα; 日本語の文章, "
           "हिन्दी 한국어 "
           "العربية 🙂🙂!\t\t"
           "for (int i = 0; i < 10; ++i) x[i] *= 2;   \n";
  return out;
}

}  // namespace moe::test
