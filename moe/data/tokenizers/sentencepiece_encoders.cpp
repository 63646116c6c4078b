#include <algorithm>
#include <array>
#include <limits>
#include <unordered_map>

#include <moe/data/bpe/merge_table.h>
#include <moe/data/tokenizers/sentencepiece_encoders.h>
#include <moe/data/tokenizers/unicode.h>
#include <moe/data/tokenizers/viterbi.h>

namespace moe::data {

namespace {

using PieceType = SentencePiece::Type;

constexpr std::string_view kWordSpace = "\xE2\x96\x81";  // "▁"

/// Ids for what is no piece.
class UnknownText {
 public:
  explicit UnknownText(const SentencePieceModel& model) : fallback_(model.byte_fallback) {
    bytes_.fill(0);
    TokenTexts texts;
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      if (model.pieces[id].type == PieceType::kUnknown) unk_ = static_cast<uint32_t>(id);
      if (model.pieces[id].type == PieceType::kByte)
        texts.add(static_cast<uint32_t>(id), model.pieces[id].text);
    }
    texts.index();
    const auto ids = byte_token_ids(texts, {});
    for (size_t byte = 0; byte < bytes_.size(); ++byte)
      bytes_[byte] = ids[byte] == TokenTexts::kNone ? unk_ : ids[byte];
  }

  /// `follows`: what stands before is unknown too, so that both are one token.
  void add(std::string_view text, bool follows, std::vector<uint32_t>& ids) const {
    if (fallback_)
      for (const char c : text) ids.push_back(bytes_[static_cast<unsigned char>(c)]);
    else if (!follows)
      ids.push_back(unk_);
  }

 private:
  bool fallback_;
  uint32_t unk_ = 0;
  std::array<uint32_t, 256> bytes_ = {};
};

bool is_found_in_text(const SentencePiece& piece) {
  return piece.type == PieceType::kNormal || piece.type == PieceType::kUserDefined;
}

class SentencePieceBpe final : public TokenModel {
 public:
  explicit SentencePieceBpe(const SentencePieceModel& model)
      : unknown_(model), pieces_(model.pieces.size()), merges_(make_merges(model)) {
    may_cut_ = characters_.contains(std::string(kWordSpace)) &&
               characters_.at(std::string(kWordSpace)) < pieces_;
    for (const auto& piece : model.pieces) {
      const size_t letters = piece.text.find_first_not_of(kWordSpace);
      if (is_found_in_text(piece) && letters != std::string::npos &&
          piece.text.find(kWordSpace, letters) != std::string::npos)
        may_cut_ = false;
    }
  }

  void encode(std::string_view word, std::vector<uint32_t>& ids) const override {
    std::vector<uint32_t> units;
    std::vector<std::string_view> strange;  // characters of no piece: they never merge
    while (!word.empty()) {
      const std::string_view unit = word.substr(0, first_code_point(word).length);
      const auto found = characters_.find(std::string(unit));
      units.push_back(found == characters_.end() ? TokenTexts::kNone : found->second);
      if (found == characters_.end()) strange.push_back(unit);
      word.remove_prefix(unit.size());
    }
    merges_.merge(units);
    bool follows = false;
    size_t next = 0;
    for (const uint32_t id : units) {
      const bool known = id < pieces_;
      if (known)
        ids.push_back(id);
      else
        unknown_.add(id == TokenTexts::kNone ? strange[next++] : texts_.at(id), follows, ids);
      follows = !known;
    }
  }

  size_t cut(std::string_view text) const override {
    if (!may_cut_) return text.size();
    size_t begin = 0;
    while (text.substr(begin).starts_with(kWordSpace)) begin += kWordSpace.size();
    return std::min(text.find(kWordSpace, begin), text.size());
  }

 private:
  /// The id of a character: its piece, or one behind all pieces that is given now.
  uint32_t character_id(const std::string& text) {
    const auto [found, is_new] =
        characters_.try_emplace(text, static_cast<uint32_t>(pieces_ + texts_.size()));
    if (is_new) texts_.emplace(found->second, text);
    return found->second;
  }

  MergeTable make_merges(const SentencePieceModel& model) {
    std::unordered_map<std::string_view, uint32_t> ids;
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      const auto& piece = model.pieces[id];
      if (!is_found_in_text(piece)) continue;
      ids.emplace(piece.text, static_cast<uint32_t>(id));
      if (first_code_point(piece.text).length == piece.text.size())
        characters_.emplace(piece.text, static_cast<uint32_t>(id));
    }
    const auto id_of = [&](std::string_view text) {
      if (const auto found = ids.find(text); found != ids.end()) return found->second;
      const bool one = first_code_point(text).length == text.size();
      return one ? character_id(std::string(text)) : TokenTexts::kNone;
    };
    std::vector<uint32_t> by_score;
    for (const auto& [text, id] : ids) by_score.push_back(id);
    std::ranges::sort(by_score, [&](uint32_t a, uint32_t b) {
      const float left = model.pieces[a].score, right = model.pieces[b].score;
      return left > right || (left == right && a < b);
    });
    std::vector<BpeMerge> merges;
    std::vector<uint32_t> ranks;
    uint32_t rank = 0;
    for (size_t i = 0; i < by_score.size(); ++i) {
      const SentencePiece& piece = model.pieces[by_score[i]];
      rank += i > 0 && piece.score < model.pieces[by_score[i - 1]].score;
      const std::string_view text = piece.text;
      for (size_t at = first_code_point(text).length; at < text.size();
           at += first_code_point(text.substr(at)).length) {
        const uint32_t left = id_of(text.substr(0, at)), right = id_of(text.substr(at));
        if (left == TokenTexts::kNone || right == TokenTexts::kNone) continue;
        merges.push_back({left, right, by_score[i]});
        ranks.push_back(rank);
      }
    }
    return MergeTable(merges, ranks);
  }

  UnknownText unknown_;
  size_t pieces_;
  std::unordered_map<std::string, uint32_t> characters_;
  std::unordered_map<uint32_t, std::string> texts_;  // of characters that are no pieces
  MergeTable merges_;
  bool may_cut_ = false;
};

class SentencePieceUnigram final : public TokenModel {
 public:
  explicit SentencePieceUnigram(const SentencePieceModel& model) : model_(model), unknown_(model) {
    constexpr float kPenalty = 10;
    float least = std::numeric_limits<float>::max();
    most_ = std::numeric_limits<float>::lowest();
    std::vector<std::pair<std::string_view, uint32_t>> words;
    for (size_t id = 0; id < model.pieces.size(); ++id) {
      const auto& piece = model.pieces[id];
      if (is_found_in_text(piece)) words.emplace_back(piece.text, static_cast<uint32_t>(id));
      if (piece.type != PieceType::kNormal) continue;
      least = std::min(least, piece.score);
      most_ = std::max(most_, piece.score);
    }
    unknown_score_ = least - kPenalty;
    pieces_ = ByteTrie(std::move(words));
  }

  void encode(std::string_view word, std::vector<uint32_t>& ids) const override {
    const auto score = [&](uint32_t id, size_t length) {
      const auto& piece = model_.pieces[id];
      // A user-defined piece is always worth more than what else could stand there.
      return piece.type == PieceType::kUserDefined
                 ? static_cast<double>(static_cast<float>(length) * most_) - 0.1
                 : static_cast<double>(piece.score);
    };
    bool follows = false;
    for (const auto& [begin, end, id] : best_pieces<float>(pieces_, word, unknown_score_, score)) {
      if (id != ByteTrie::kNone)
        ids.push_back(id);
      else
        unknown_.add(word.substr(begin, end - begin), follows, ids);
      follows = id == ByteTrie::kNone;
    }
  }

 private:
  const SentencePieceModel& model_;
  UnknownText unknown_;
  ByteTrie pieces_;
  float unknown_score_ = 0, most_ = 0;
};

}  // namespace

std::unique_ptr<TokenModel> make_sentencepiece_bpe(const SentencePieceModel& model) {
  return std::make_unique<SentencePieceBpe>(model);
}

std::unique_ptr<TokenModel> make_sentencepiece_unigram(const SentencePieceModel& model) {
  return std::make_unique<SentencePieceUnigram>(model);
}

}  // namespace moe::data
