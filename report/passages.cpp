// T tokens, L MoE layers.
#include <algorithm>

#include <moe/base/utf8.h>
#include <report/passages.h>

namespace moe::report {

namespace {

/// Of a token with many choices, the first ones.
constexpr int64_t kChoicesShown = 4;
constexpr int64_t kMostChoices = 40000, kShortest = 32, kLongest = 240;

std::vector<std::vector<TokenChoice>> choices_of(const analyze::LayerPairs& pairs, int64_t first,
                                                 int64_t tokens) {
  std::vector<std::vector<TokenChoice>> out(static_cast<size_t>(tokens));
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t t = static_cast<size_t>(first) + i;
    const int64_t end = std::min(pairs.offset_T[t + 1], pairs.offset_T[t] + kChoicesShown);
    for (auto n = static_cast<size_t>(pairs.offset_T[t]); n < static_cast<size_t>(end); ++n)
      if (pairs.expert_N[n] >= 0) out[i].push_back({pairs.expert_N[n], pairs.weight_N[n]});
  }
  return out;
}

}  // namespace

std::vector<std::string> texts_of(const data::Tokenizer& tokenizer,
                                  const std::vector<int64_t>& ids) {
  std::string all;
  std::vector<size_t> token_of_byte;
  // Behind its own first token nothing is at the front, where a space may be left out.
  const auto stream = tokenizer.stream(std::span(ids).first(std::min<size_t>(ids.size(), 1)));
  for (size_t t = 0; t < ids.size(); ++t) {
    all += stream->push(ids[t]);
    token_of_byte.resize(all.size(), t);
  }
  all += stream->flush();
  if (!ids.empty()) token_of_byte.resize(all.size(), ids.size() - 1);
  std::vector<std::string> out(ids.size());
  for (size_t at = 0; at < all.size();) {
    const auto piece = next_utf8(std::string_view(all).substr(at));
    std::string& text = out[token_of_byte[at]];
    if (piece.kind == Utf8Piece::Kind::kCharacter)
      text.append(all, at, piece.length);
    else
      text += "\xEF\xBF\xBD";
    at += piece.length;
  }
  return out;
}

int64_t passage_length(const analyze::RoutedRows& rows, int64_t passages) {
  int64_t choices = 0;
  for (const auto& layer : rows.layers) {
    const auto pairs = static_cast<int64_t>(layer.expert_N.size());
    const int64_t each = rows.tokens() > 0 ? (pairs + rows.tokens() - 1) / rows.tokens() : 1;
    choices += std::clamp<int64_t>(each, 1, kChoicesShown);
  }
  return std::clamp(kMostChoices / std::max<int64_t>(1, choices * passages), kShortest, kLongest);
}

Passage passage_of(const analyze::RoutedRows& rows, int64_t row, const data::Tokenizer& tokenizer,
                   const std::string& domain, int64_t tokens) {
  Passage out;
  out.domain = domain;
  const int64_t first = rows.row_begin_U[static_cast<size_t>(row)];
  const int64_t T = std::min(tokens, rows.row_begin_U[static_cast<size_t>(row) + 1] - first);
  const auto begin = rows.token_T.begin() + first;
  out.text_T = texts_of(tokenizer, {begin, begin + T});
  for (const auto& layer : rows.layers) out.choices_LT.push_back(choices_of(layer, first, T));
  return out;
}

}  // namespace moe::report
