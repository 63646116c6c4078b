// The model of tiktoken: of all neighbours whose bytes together are a token, the pair whose token
// has the lowest rank is joined first.

#include <array>
#include <unordered_map>

#include <moe/data/bpe/byte_letters.h>
#include <moe/data/bpe/merge_table.h>
#include <moe/data/tokenizers/token_model.h>

namespace moe::data {

namespace {

/// Pairs that make tokens, in all: a quarter of a million tokens have about three each.
constexpr size_t kMostPairs = size_t{1} << 22;

using TokenOfBytes = std::unordered_map<std::string_view, uint32_t>;

std::vector<std::string> bytes_of_tokens(const TokenModelSource& source) {
  std::vector<std::string> out(source.tokens.size());
  for (size_t id = 0; id < out.size(); ++id) {
    auto bytes = source.tokens.has(id) ? letters_to_bytes(source.tokens.text(id)) : std::nullopt;
    if (!bytes || bytes->empty())
      source.in.refuse("model.vocab", "a token in GPT-2's letters for every rank",
                       formats::in_quotes(source.tokens.text(id)));
    out[id] = std::move(*bytes);
  }
  return out;
}

TokenOfBytes tokens_by_bytes(const TokenModelSource& source,
                             const std::vector<std::string>& tokens) {
  TokenOfBytes out;
  out.reserve(tokens.size());
  for (size_t id = 0; id < tokens.size(); ++id)
    if (id >= source.forbidden.size() || !source.forbidden[id])
      out.emplace(tokens[id], static_cast<uint32_t>(id));
  return out;
}

MergeTable merges_by_rank(const TokenModelSource& source, const std::vector<std::string>& tokens,
                          const TokenOfBytes& ids) {
  std::vector<BpeMerge> merges;
  std::vector<uint32_t> ranks;
  for (const std::string_view token : tokens) {
    const auto made = ids.find(token);
    if (made == ids.end()) continue;
    for (size_t at = 1; at < token.size(); ++at) {
      const auto left = ids.find(token.substr(0, at));
      if (left == ids.end()) continue;
      const auto right = ids.find(token.substr(at));
      if (right == ids.end()) continue;
      if (merges.size() == kMostPairs)
        source.in.refuse("model.vocab",
                         concat("tokens that at most ", kMostPairs, " pairs of others make"),
                         "more", " The file is hostile.");
      merges.push_back({left->second, right->second, made->second});
      ranks.push_back(made->second);
    }
  }
  return MergeTable(merges, ranks);
}

class RankedBytes final : public TokenModel {
 public:
  explicit RankedBytes(const TokenModelSource& source)
      : tokens_(bytes_of_tokens(source)),
        ids_(tokens_by_bytes(source, tokens_)),
        merges_(merges_by_rank(source, tokens_, ids_)) {
    for (int byte = 0; byte < 256; ++byte) {
      const auto found = ids_.find(std::string(1, static_cast<char>(byte)));
      if (found == ids_.end())
        source.in.refuse("model.vocab", "a token for every byte", concat("none for byte ", byte));
      byte_ids_[static_cast<size_t>(byte)] = found->second;
    }
  }

  void encode(std::string_view word, std::vector<uint32_t>& ids) const override {
    if (const auto whole = ids_.find(word); whole != ids_.end())
      return ids.push_back(whole->second);
    thread_local std::vector<uint32_t> units;
    units.clear();
    for (const char c : word) units.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    merges_.merge(units);
    ids.insert(ids.end(), units.begin(), units.end());
  }

 private:
  std::vector<std::string> tokens_;
  TokenOfBytes ids_;  // views of tokens_
  MergeTable merges_;
  std::array<uint32_t, 256> byte_ids_ = {};
};

}  // namespace

std::unique_ptr<TokenModel> read_ranked_bytes(const TokenModelSource& source) {
  source.in.check_keys(source.settings, "model", {"type", "vocab"});
  if (!source.byte_level)
    source.in.refuse("pre_tokenizer", "ByteLevel at the end, for a model of the type 'tiktoken'",
                     "another");
  return std::make_unique<RankedBytes>(source);
}

}  // namespace moe::data
