#include <algorithm>

#include <moe/data/bpe/added_tokens.h>

namespace moe::data {

AddedTokenFinder::AddedTokenFinder(std::span<const AddedToken> tokens) {
  for (const bool normalized : {false, true}) {
    Level level;
    for (const auto& token : tokens) {
      if (token.normalized != normalized || token.text.empty()) continue;
      level.by_first_byte.resize(256);
      level.by_first_byte[static_cast<unsigned char>(token.text[0])].push_back(token);
    }
    for (auto& list : level.by_first_byte)
      std::ranges::stable_sort(
          list, [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
    if (!level.by_first_byte.empty()) levels_.push_back(std::move(level));
  }
}

const AddedToken* AddedTokenFinder::Level::find(std::string_view text) const {
  for (const auto& token : by_first_byte[static_cast<unsigned char>(text[0])])
    if (text.starts_with(token.text)) return &token;
  return nullptr;
}

void AddedTokenFinder::divide(std::string_view text, const Take& take) const {
  divide(text, 0, take);
}

void AddedTokenFinder::divide(std::string_view text, size_t level, const Take& take) const {
  if (level == levels_.size()) {
    if (!text.empty()) take(text, std::nullopt);
    return;
  }
  size_t begin = 0;  // of what has not been handed on
  for (size_t i = 0; i < text.size();) {
    const AddedToken* token = levels_[level].find(text.substr(i));
    if (!token) {
      ++i;
      continue;
    }
    divide(text.substr(begin, i - begin), level + 1, take);
    take(text.substr(i, token->text.size()), token->id);
    begin = i += token->text.size();
  }
  divide(text.substr(begin), level + 1, take);
}

}  // namespace moe::data
