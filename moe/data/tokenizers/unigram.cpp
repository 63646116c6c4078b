// The unigram model of tokenizer.json.

#include <algorithm>
#include <cmath>
#include <limits>

#include <moe/data/tokenizers/token_model.h>
#include <moe/data/tokenizers/viterbi.h>

namespace moe::data {

namespace {

using nlohmann::json;

constexpr double kUnknownPenalty = 10;

class UnigramModel final : public TokenModel {
 public:
  UnigramModel(const TokenModelSource& source, uint32_t unk, bool byte_fallback) : unk_(unk) {
    const json& vocab = source.settings["vocab"];
    std::vector<std::pair<std::string_view, uint32_t>> words;
    double least = std::numeric_limits<double>::infinity();
    for (size_t id = 0; id < vocab.size(); ++id) {
      scores_.push_back(vocab[id][1].get<double>());
      least = std::min(least, scores_.back());
      const bool no = id < source.forbidden.size() && source.forbidden[id];
      if (!no) words.emplace_back(source.tokens.text(id), static_cast<uint32_t>(id));
    }
    unknown_ = least - kUnknownPenalty;
    if (byte_fallback) fallback_ = byte_token_ids(source.tokens, source.forbidden);
    pieces_ = ByteTrie(std::move(words));
  }

  void encode(std::string_view word, std::vector<uint32_t>& ids) const override {
    const auto pieces = best_pieces<double>(pieces_, word, unknown_,
                                            [&](uint32_t id, size_t) { return scores_[id]; });
    // Unknown characters side by side are one unknown token, or their bytes.
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto is_unknown = [&](size_t j) {
        return pieces[j].id == ByteTrie::kNone || pieces[j].id == unk_;
      };
      if (!is_unknown(i)) {
        ids.push_back(pieces[i].id);
        continue;
      }
      const size_t begin = pieces[i].begin;
      while (i + 1 < pieces.size() && is_unknown(i + 1)) ++i;
      add_unknown(word.substr(begin, pieces[i].end - begin), ids);
    }
  }

 private:
  void add_unknown(std::string_view text, std::vector<uint32_t>& ids) const {
    const auto known = pieces_.longest(text);
    if (known.length == text.size()) return ids.push_back(known.value);
    const auto id_of = [&](char c) { return fallback_[static_cast<unsigned char>(c)]; };
    const bool as_bytes = !fallback_.empty() && std::ranges::all_of(text, [&](char c) {
      return id_of(c) != TokenTexts::kNone;
    });
    if (!as_bytes) return ids.push_back(unk_);
    for (const char c : text) ids.push_back(id_of(c));
  }

  uint32_t unk_;
  double unknown_ = 0;
  std::vector<double> scores_;
  std::vector<uint32_t> fallback_;
  ByteTrie pieces_;
};

}  // namespace

std::unique_ptr<TokenModel> read_unigram(const TokenModelSource& source) {
  const TokenizerJson& in = source.in;
  in.check_keys(source.settings, "model", {"type", "unk_id", "vocab", "byte_fallback"});
  if (!in.at(source.settings, "model.", "vocab").is_array())
    in.refuse("model.vocab", "an array of tokens with scores", "an object");
  for (size_t i = 0; i < source.settings["vocab"].size(); ++i)
    if (!(std::abs(source.settings["vocab"][i][1].get<double>()) < 1e9))
      in.refuse(concat("model.vocab[", i, ']'), "a score in (-1e9, 1e9)", "another");
  const int64_t unk = in.integer_at(source.settings, "model.", "unk_id");
  if (static_cast<size_t>(unk) >= source.tokens.size())
    in.refuse("model.unk_id", "the id of a token", std::to_string(unk));
  return std::make_unique<UnigramModel>(
      source, static_cast<uint32_t>(unk),
      in.bool_or(source.settings, "model.", "byte_fallback", false));
}

}  // namespace moe::data
