#include <moe/base/error.h>
#include <moe/data/bpe/bpe_encoder.h>
#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/data/tokenizers/tokenizer_json.h>

namespace moe::data {

namespace {

/// Shorter text is encoded before other threads have begun.
constexpr size_t kWorthThreads = size_t{1} << 19;

/// Whether each id is a special token.
std::vector<bool> special_ids(const BpeModel& model) {
  std::vector<bool> out(model.tokens.size(), false);
  for (const auto& token : model.added) out[token.id] = token.special;
  return out;
}

std::vector<BpeMerge> merges_for(const BpeModel& model, SpecialText special_text) {
  if (special_text == SpecialText::kToken) return model.merges;
  const std::vector<bool> special = special_ids(model);
  std::vector<BpeMerge> out;
  for (const auto& merge : model.merges)
    if (!special[merge.result]) out.push_back(merge);
  return out;
}

std::vector<AddedToken> added_for(const BpeModel& model, SpecialText special_text) {
  std::vector<AddedToken> out;
  for (const auto& token : model.added)
    if (special_text == SpecialText::kToken || !token.special) out.push_back(token);
  return out;
}

}  // namespace

BpeTokenizer::BpeTokenizer(BpeModel model, std::string name, SpecialText special_text)
    : model_((model.validate(concat('\'', name, '\'')), std::move(model))),
      name_(std::move(name)),
      serial_(next_cache_owner()),
      byte_ids_(model_.byte_ids()),
      special_(special_ids(model_)),
      merges_(merges_for(model_, special_text)),
      added_(added_for(model_, special_text)) {
  if (special_text == SpecialText::kText) check_bytes_are_not_special();
  if (!model_.ignore_merges) return;
  const std::vector<bool> added = model_.is_added();
  for (size_t id = 0; id < model_.tokens.size(); ++id)
    if (!added[id]) whole_words_.emplace(model_.tokens[id], static_cast<uint32_t>(id));
}

void BpeTokenizer::check_bytes_are_not_special() const {
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte)
    if (special_[byte_ids_[byte]])
      fail("data/tokenizer", "expected a token that is not special for every byte in '", name_,
           "', to encode text without special tokens, got only a special one for byte ", byte,
           ". Read special tokens in text, or train another tokenizer.");
}

std::shared_ptr<const Tokenizer> BpeTokenizer::without_special() const {
  std::call_once(without_special_made_, [&] {
    without_special_ = std::make_shared<BpeTokenizer>(model_, name_, SpecialText::kText);
  });
  return without_special_;
}

std::vector<int64_t> BpeTokenizer::encode(std::string_view text) const {
  std::vector<int64_t> out;
  encode_in_parts(text, 1, [&](std::span<const int64_t> ids) {
    out.insert(out.end(), ids.begin(), ids.end());
  });
  return out;
}

void BpeTokenizer::encode_in_parts(std::string_view text, int64_t threads,
                                   const TakeIds& take) const {
  if (threads > 1 && text.size() >= kWorthThreads)
    return encode_in_parallel(*this, text, threads, take);
  BpeEncoder encoder(*this, word_cache_of_thread(), take);
  divide(text, [&](std::string_view part, std::optional<uint32_t> id) {
    encoder.encode({part, id});
  });
  encoder.finish();
}

std::optional<int64_t> BpeTokenizer::end_of_text() const {
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"})
    for (const auto& token : model_.added)
      if (token.special && token.text == name) return token.id;
  return std::nullopt;
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
