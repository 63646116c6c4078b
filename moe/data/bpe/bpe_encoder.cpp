#include <algorithm>

#include <moe/base/threads.h>
#include <moe/data/bpe/bpe_encoder.h>
#include <moe/data/bpe/gpt2_words.h>

namespace moe::data {

namespace {

constexpr size_t kIdsAtOnce = size_t{1} << 16;
constexpr size_t kChunksAThread = 16;

}  // namespace

void BpeEncoder::encode(const BpePiece& piece) {
  if (piece.id) return append({&*piece.id, 1});
  if (!piece.begins || !tokenizer_.model_.add_prefix_space || piece.text.front() == ' ')
    return encode_words(piece.text);
  std::string with_space;
  with_space.reserve(piece.text.size() + 1);
  with_space += ' ';
  encode_words(with_space += piece.text);
}

void BpeEncoder::finish() {
  if (!ids_.empty()) take_(ids_);
  ids_.clear();
}

void BpeEncoder::encode_words(std::string_view text) {
  while (!text.empty()) {
    const size_t length = tokenizer_.model_.use_regex ? gpt2_word_length(text) : text.size();
    encode_word(text.substr(0, length));
    text.remove_prefix(length);
  }
}

void BpeEncoder::encode_word(std::string_view word) {
  const auto known = cache_.find(tokenizer_.serial_, word);
  if (!known.empty()) return append(known);
  const auto whole = tokenizer_.whole_words_.find(word);
  if (whole != tokenizer_.whole_words_.end()) {
    word_.assign(1, whole->second);
  } else {
    word_.clear();
    for (const char c : word) word_.push_back(tokenizer_.byte_ids_[static_cast<unsigned char>(c)]);
    tokenizer_.merges_.merge(word_);
  }
  cache_.store(tokenizer_.serial_, word, word_);
  append(word_);
}

void BpeEncoder::append(std::span<const uint32_t> ids) {
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  if (ids_.size() >= kIdsAtOnce) finish();
}

void encode_in_parallel(const BpeTokenizer& tokenizer, std::string_view text, int64_t threads,
                        const Tokenizer::TakeIds& take, size_t chunk_bytes) {
  std::vector<std::vector<BpePiece>> chunks(1);
  size_t bytes = 0;  // of the last chunk
  // A cache takes 2 MiB: none for threads that would find nothing to do.
  const auto most_chunks = static_cast<int64_t>(text.size() / std::max<size_t>(chunk_bytes, 1)) + 1;
  std::vector<WordCache> caches(static_cast<size_t>(std::clamp<int64_t>(threads, 1, most_chunks)));
  const auto encode_chunks = [&] {
    std::vector<std::vector<int64_t>> ids(chunks.size());
    const auto workers = static_cast<int64_t>(caches.size());
    in_parallel(static_cast<int64_t>(chunks.size()), workers, [&](int64_t index, size_t worker) {
      auto& out = ids[static_cast<size_t>(index)];
      const Tokenizer::TakeIds keep = [&](std::span<const int64_t> part) {
        out.insert(out.end(), part.begin(), part.end());
      };
      BpeEncoder encoder(tokenizer, caches[worker], keep);
      for (const auto& piece : chunks[static_cast<size_t>(index)]) encoder.encode(piece);
      encoder.finish();
    });
    for (const auto& part : ids)
      if (!part.empty()) take(part);
    chunks.assign(1, {});
  };
  const auto add = [&](const BpePiece& piece) {
    chunks.back().push_back(piece);
    bytes += piece.text.size();
    if (bytes < chunk_bytes) return;
    bytes = 0;
    if (chunks.size() == kChunksAThread * caches.size()) return encode_chunks();
    chunks.emplace_back();
  };
  tokenizer.divide(text, [&](std::string_view part, std::optional<uint32_t> id) {
    if (id) return add({part, id});
    for (bool begins = true; !part.empty(); begins = false) {
      const bool cut = tokenizer.model().use_regex && part.size() > chunk_bytes;
      const std::string_view piece =
          cut ? part.substr(0, gpt2_word_border(part, chunk_bytes)) : part;
      add({piece, std::nullopt, begins});
      part.remove_prefix(piece.size());
    }
  });
  encode_chunks();
}

}  // namespace moe::data
