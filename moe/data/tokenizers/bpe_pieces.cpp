// Byte-pair encoding as tokenizer.json describes it: over bytes or characters, with unknown tokens
// and bytes in their place.

#include <array>
#include <optional>
#include <unordered_map>

#include <moe/data/bpe/byte_letters.h>
#include <moe/data/bpe/merge_table.h>
#include <moe/data/tokenizers/character_table.h>
#include <moe/data/tokenizers/token_model.h>
#include <moe/data/tokenizers/unicode.h>

namespace moe::data {

namespace {

using nlohmann::json;

constexpr std::string_view kSpaceSign = "\xE2\x96\x81";  // "▁"

/// The two tokens of a merge: ["left", "right"] or, as releases before 0.20 wrote, "left right".
std::optional<std::pair<std::string_view, std::string_view>> parts_of_merge(const json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {{merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()}};
  if (!merge.is_string()) return std::nullopt;
  const std::string_view text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == text.npos || text.find(' ', space + 1) != text.npos) return std::nullopt;
  return {{text.substr(0, space), text.substr(space + 1)}};
}

/// Merges whose result is not forbidden; of equal pairs the last counts.
std::vector<BpeMerge> merges_of(const TokenModelSource& source, const std::string& prefix) {
  const json& list = source.in.array_at(source.settings, "model.", "merges");
  std::vector<BpeMerge> out;
  out.reserve(list.size());
  std::unordered_map<uint64_t, size_t> places;
  places.reserve(list.size());
  std::vector<bool> again(list.size(), false);
  std::string joined;
  for (size_t i = 0; i < list.size(); ++i) {
    const auto parts = parts_of_merge(list[i]);
    const auto where = [&] { return concat("model.merges[", i, ']'); };
    if (!parts)
      source.in.refuse(where(), "two tokens, as [\"a\", \"b\"] or \"a b\"",
                       TokenizerJson::describe(list[i]));
    std::string_view behind = parts->second;
    if (!prefix.empty() && behind.starts_with(prefix)) behind.remove_prefix(prefix.size());
    joined.assign(parts->first).append(behind);
    const auto id_of = [&](std::string_view token) {
      const uint32_t id = source.tokens.id(token);
      if (id == TokenTexts::kNone)
        source.in.refuse(where(), "tokens of the vocabulary, also as the result",
                         formats::in_quotes(token));
      return id;
    };
    const BpeMerge merge{id_of(parts->first), id_of(parts->second), id_of(joined)};
    const auto [place, is_new] =
        places.try_emplace(uint64_t{merge.left} << 32 | merge.right, out.size());
    if (!is_new) again[place->second] = true;
    place->second = out.size();
    out.push_back(merge);
  }
  std::vector<BpeMerge> kept;
  kept.reserve(out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const bool no = out[i].result < source.forbidden.size() && source.forbidden[out[i].result];
    if (!again[i] && !no) kept.push_back(out[i]);
  }
  return kept;
}

class BpePieces final : public TokenModel {
 public:
  BpePieces(const TokenModelSource& source, std::string prefix, std::string suffix,
            const std::vector<BpeMerge>& merges)
      : merges_(merges), prefix_(std::move(prefix)), suffix_(std::move(suffix)) {
    const auto allowed = [&](uint32_t id) {
      return id >= source.forbidden.size() || !source.forbidden[id];
    };
    const json& settings = source.settings;
    ignore_merges_ = source.in.bool_or(settings, "model.", "ignore_merges", false);
    fuse_unk_ = source.in.bool_or(settings, "model.", "fuse_unk", false);
    byte_level_ = source.byte_level;
    const json& unknown = TokenizerJson::find(settings, "unk_token");
    if (!unknown.is_null()) {
      unk_ = source.tokens.id(source.in.string_at(settings, "model.", "unk_token"));
      if (unk_ == TokenTexts::kNone)
        source.in.refuse("model.unk_token", "a token of the vocabulary",
                         TokenizerJson::describe(unknown));
    }
    if (source.in.bool_or(settings, "model.", "byte_fallback", false))
      fallback_ = byte_token_ids(source.tokens, source.forbidden);
    byte_ids_.fill(TokenTexts::kNone);
    for (size_t id = 0; id < source.tokens.size(); ++id) {
      const auto token = static_cast<uint32_t>(id);
      if (!source.tokens.has(id) || !allowed(token)) continue;
      std::string_view text = source.tokens.text(id);
      std::optional<std::string> bytes;
      if (byte_level_ && (bytes = letters_to_bytes(text))) text = *bytes;
      if (byte_level_ && !bytes) continue;  // no text becomes it
      if (byte_level_ && text.size() == 1) byte_ids_[static_cast<unsigned char>(text[0])] = token;
      if (ignore_merges_ || !byte_level_) ids_.emplace(text, token);
      if (!byte_level_ && !text.empty() && first_code_point(text).length == text.size())
        characters_.set(first_code_point(text).code, token);
    }
    may_cut_ = prefix_.empty() && suffix_.empty() && !byte_level_ &&
               ids_.contains(std::string(kSpaceSign));
    for (const auto& merge : merges) {
      const std::string& text = source.tokens.text(merge.result);
      const size_t letters = text.find_first_not_of(kSpaceSign);
      if (letters != text.npos && text.find(kSpaceSign, letters) != text.npos) may_cut_ = false;
    }
  }

  void encode(std::string_view word, std::vector<uint32_t>& ids) const override {
    if (ignore_merges_) {
      const auto whole = ids_.find(std::string(word));
      if (whole != ids_.end()) return ids.push_back(whole->second);
    }
    thread_local std::vector<uint32_t> units;
    units.clear();
    byte_level_ ? add_bytes(word, units) : add_characters(word, units);
    merges_.merge(units);
    ids.insert(ids.end(), units.begin(), units.end());
  }

  /// Before a run of "▁": no merge crosses there.
  size_t cut(std::string_view text) const override {
    if (!may_cut_) return text.size();
    size_t begin = 0;
    while (text.substr(begin).starts_with(kSpaceSign)) begin += kSpaceSign.size();
    return std::min(text.find(kSpaceSign, begin), text.size());
  }

 private:
  void add_bytes(std::string_view word, std::vector<uint32_t>& units) const {
    bool unknown = false;
    for (const char c : word) {
      const uint32_t id = byte_ids_[static_cast<unsigned char>(c)];
      if (id != TokenTexts::kNone)
        units.push_back(id);
      else if (unk_ != TokenTexts::kNone && !(unknown && fuse_unk_))
        units.push_back(unk_);
      unknown = id == TokenTexts::kNone;
    }
  }

  void add_characters(std::string_view word, std::vector<uint32_t>& units) const {
    bool unknown = false;  // what stands before is the unknown token
    std::string unit;
    for (bool first = true; !word.empty(); first = false) {
      const CodePoint next = first_code_point(word);
      const std::string_view character = word.substr(0, next.length);
      word.remove_prefix(next.length);
      const bool plain = (!first || prefix_.empty()) && (!word.empty() || suffix_.empty());
      if (!plain)
        unit.assign(first ? prefix_ : "").append(character).append(word.empty() ? suffix_ : "");
      const uint32_t id = plain ? characters_.id(next.code) : id_of(unit);
      if (id != TokenTexts::kNone) {
        units.push_back(id);
        unknown = false;
      } else if (!add_fallback(plain ? character : unit, units) && unk_ != TokenTexts::kNone) {
        if (!unknown || !fuse_unk_) units.push_back(unk_);
        unknown = true;
      }
    }
  }

  uint32_t id_of(const std::string& text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? TokenTexts::kNone : found->second;
  }

  /// Adds the bytes of a character as tokens, if they all are tokens.
  bool add_fallback(std::string_view unit, std::vector<uint32_t>& units) const {
    if (fallback_.empty()) return false;
    for (const char c : unit)
      if (fallback_[static_cast<unsigned char>(c)] == TokenTexts::kNone) return false;
    for (const char c : unit) units.push_back(fallback_[static_cast<unsigned char>(c)]);
    return true;
  }

  MergeTable merges_;
  std::string prefix_, suffix_;
  bool ignore_merges_ = false, fuse_unk_ = false, byte_level_ = false, may_cut_ = false;
  uint32_t unk_ = TokenTexts::kNone;
  std::array<uint32_t, 256> byte_ids_ = {};
  std::vector<uint32_t> fallback_;  // empty: no such thing
  std::unordered_map<std::string, uint32_t> ids_;
  CharacterTable characters_;  // of ids_
};

std::string affix_of(const TokenModelSource& source, const char* key) {
  const json& value = TokenizerJson::find(source.settings, key);
  return value.is_null() ? std::string() : source.in.string_at(source.settings, "model.", key);
}

}  // namespace

std::unique_ptr<TokenModel> read_bpe_pieces(const TokenModelSource& source) {
  source.in.check_keys(
      source.settings, "model",
      {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
       "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  const json& dropout = TokenizerJson::find(source.settings, "dropout");
  if (!dropout.is_null() && dropout != 0)
    source.in.refuse("model.dropout", "null or 0", TokenizerJson::describe(dropout),
                     " Merges are never dropped here; set it to null.");
  const std::string prefix = affix_of(source, "continuing_subword_prefix");
  return std::make_unique<BpePieces>(source, prefix, affix_of(source, "end_of_word_suffix"),
                                     merges_of(source, prefix));
}

}  // namespace moe::data
