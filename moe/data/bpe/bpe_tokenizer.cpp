#include <atomic>

#include <moe/base/error.h>
#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/bpe/gpt2_words.h>
#include <moe/data/bpe/word_cache.h>

namespace moe::data {

namespace {

/// A quarter of a million tokens with their merges take about half of this.
constexpr uint64_t kLargestTokenizerJson = 64u << 20;
constexpr size_t kIdsAtOnce = size_t{1} << 16;

uint32_t next_serial() {
  static std::atomic<uint32_t> last = 0;
  return ++last;
}

WordCache& cache_of_thread() {
  thread_local WordCache cache;
  return cache;
}

}  // namespace

/// One call of encode.
class BpeEncoder {
 public:
  BpeEncoder(const BpeTokenizer& tokenizer, const Tokenizer::TakeIds& take)
      : tokenizer_(tokenizer), take_(take) {}

  void encode(std::string_view text) {
    tokenizer_.added_.divide(text, [&](std::string_view part, std::optional<uint32_t> id) {
      if (id)
        append({&*id, 1});
      else
        encode_words(part);
    });
    if (!ids_.empty()) take_(ids_);
  }

 private:
  void encode_words(std::string_view text) {
    std::string with_space;
    if (tokenizer_.model_.add_prefix_space && text.front() != ' ') {
      with_space.reserve(text.size() + 1);
      with_space += ' ';
      text = with_space += text;
    }
    while (!text.empty()) {
      const size_t length = tokenizer_.model_.use_regex ? gpt2_word_length(text) : text.size();
      encode_word(text.substr(0, length));
      text.remove_prefix(length);
    }
  }

  void encode_word(std::string_view word) {
    const auto known = cache_.find(tokenizer_.serial_, word);
    if (!known.empty()) return append(known);
    const auto whole = tokenizer_.whole_words_.find(word);
    if (whole != tokenizer_.whole_words_.end()) {
      word_.assign(1, whole->second);
    } else {
      word_.clear();
      for (const char c : word)
        word_.push_back(tokenizer_.byte_ids_[static_cast<unsigned char>(c)]);
      tokenizer_.merges_.merge(word_);
    }
    cache_.store(tokenizer_.serial_, word, word_);
    append(word_);
  }

  void append(std::span<const uint32_t> ids) {
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    if (ids_.size() < kIdsAtOnce) return;
    take_(ids_);
    ids_.clear();
  }

  const BpeTokenizer& tokenizer_;
  const Tokenizer::TakeIds& take_;
  WordCache& cache_ = cache_of_thread();
  std::vector<uint32_t> word_;
  std::vector<int64_t> ids_;
};

BpeTokenizer::BpeTokenizer(BpeModel model, std::string name)
    : model_((model.validate(concat('\'', name, '\'')), std::move(model))),
      name_(std::move(name)),
      serial_(next_serial()),
      byte_ids_(model_.byte_ids()),
      special_(model_.tokens.size(), false),
      merges_(model_.merges),
      added_(model_.added) {
  for (const auto& token : model_.added) special_[token.id] = token.special;
  if (!model_.ignore_merges) return;
  const std::vector<bool> added = model_.is_added();
  for (size_t id = 0; id < model_.tokens.size(); ++id)
    if (!added[id]) whole_words_.emplace(model_.tokens[id], static_cast<uint32_t>(id));
}

std::vector<int64_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<int64_t> out;
  encode_in_parts(
      text, [&](std::span<const int64_t> ids) { out.insert(out.end(), ids.begin(), ids.end()); });
  return out;
}

void BpeTokenizer::encode_in_parts(std::string_view text, const TakeIds& take) const {
  BpeEncoder(*this, take).encode(text);
}

std::string BpeTokenizer::decode(std::span<const int64_t> tokens) const {
  return decode(tokens, true);
}

std::string BpeTokenizer::decode_plain(std::span<const int64_t> tokens) const {
  return decode(tokens, false);
}

std::string BpeTokenizer::decode(std::span<const int64_t> tokens, bool with_special) const {
  std::string out;
  for (const int64_t token : tokens) {
    check(token >= 0 && token < vocabulary(), "data/tokenizer", "expected tokens in [0, ",
          vocabulary(), ") for the tokenizer '", name_, "', got ", token,
          ". Use the tokenizer of the model.");
    const auto id = static_cast<size_t>(token);
    if (with_special || !special_[id]) out += model_.tokens[id];
  }
  return out;
}

std::shared_ptr<const BpeTokenizer> read_bpe_tokenizer(const Path& path) {
  const std::string text = read_file(real_files(), path, kLargestTokenizerJson);
  return std::make_shared<BpeTokenizer>(parse_tokenizer_json(text, path.string()), path.string());
}

}  // namespace moe::data
