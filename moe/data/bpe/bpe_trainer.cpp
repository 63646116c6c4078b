#include <algorithm>

#include <moe/base/error.h>
#include <moe/data/bpe/bpe_trainer.h>
#include <moe/data/bpe/byte_letters.h>
#include <moe/data/bpe/gpt2_words.h>
#include <moe/data/bpe/pair_counts.h>
#include <moe/data/utf8.h>
#include <moe/formats/strict_json.h>

namespace moe::data {

namespace {

constexpr size_t kLongestCountedWord = 256;
constexpr int64_t kLargestVocabulary = int64_t{1} << 24;

std::vector<AddedToken> special_tokens(const BpeTrainerOptions& options) {
  std::vector<AddedToken> out;
  for (const auto& text : options.special)
    out.push_back({.id = static_cast<uint32_t>(out.size()), .text = text});
  return out;
}

}  // namespace

void BpeTrainerOptions::validate(const std::string& place) const {
  const auto least = static_cast<int64_t>(256 + special.size());
  check<ConfigError>(vocabulary >= least && vocabulary <= kLargestVocabulary, place,
                     "expected a vocabulary in [", least, ", ", kLargestVocabulary,
                     "] (256 bytes and ", special.size(), " special tokens are always in it), got ",
                     vocabulary, ". Correct it.");
  check<ConfigError>(min_count >= 1, place, "expected a least count of at least 1, got ", min_count,
                     ". Correct it.");
  for (size_t i = 0; i < special.size(); ++i) {
    const auto& text = special[i];
    const auto bytes = letters_to_bytes(text);
    // What is short or can be read as letters for other bytes would be two tokens in one spelling.
    check<ConfigError>(
        text.size() >= 2 && text.size() <= 1024 && is_utf8(text) && (!bytes || *bytes == text),
        place, "expected special tokens of 2 to 1024 bytes in UTF-8, got ",
        formats::in_quotes(text), ". Write them in ASCII, as in <|endoftext|>.");
    check<ConfigError>(std::count(special.begin(), special.end(), text) == 1, place,
                       "expected different special tokens, got ", formats::in_quotes(text),
                       " twice. Remove one.");
  }
}

BpeTrainer::BpeTrainer(BpeTrainerOptions options)
    : options_((options.validate("data/tokenizer"), std::move(options))),
      special_(special_tokens(options_)) {}

void BpeTrainer::add(std::string_view text) {
  special_.divide(text, [&](std::string_view part, std::optional<uint32_t> id) {
    while (!id && !part.empty()) {
      const std::string_view word = part.substr(0, gpt2_word_length(part));
      for (size_t begin = 0; begin < word.size(); begin += kLongestCountedWord) {
        const std::string_view piece = word.substr(begin, kLongestCountedWord);
        const auto found = counts_.find(piece);
        if (found != counts_.end())
          ++found->second;
        else
          counts_.emplace(piece, 1);
      }
      part.remove_prefix(word.size());
    }
  });
}

BpeModel BpeTrainer::train() const {
  BpeModel model;
  model.added = special_tokens(options_);
  for (const auto& token : model.added) model.tokens.push_back(token.text);
  for (const uint8_t byte : bytes_in_letter_order())
    model.tokens.emplace_back(1, static_cast<char>(byte));

  check(counts_.size() < UINT32_MAX, "data/tokenizer", "expected fewer than ", UINT32_MAX,
        " different words, got ", counts_.size(), ". Train on less text.");
  const std::vector<uint32_t> byte_ids = model.byte_ids();
  PairCounts pairs;
  std::vector<uint32_t> tokens;
  for (const auto& [word, count] : counts_) {
    tokens.clear();
    for (const char c : word) tokens.push_back(byte_ids[static_cast<unsigned char>(c)]);
    pairs.add_word(tokens, count);
  }
  while (static_cast<int64_t>(model.tokens.size()) < options_.vocabulary) {
    const auto best = pairs.take_best();
    if (!best || best->count < options_.min_count) break;
    const auto [left, right] = best->pair;
    const auto id = static_cast<uint32_t>(model.tokens.size());
    model.tokens.push_back(model.tokens[left] + model.tokens[right]);
    model.merges.push_back({left, right, id});
    pairs.merge(best->pair, id);
  }
  return model;
}

}  // namespace moe::data
