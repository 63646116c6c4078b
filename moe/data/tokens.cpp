#include <algorithm>

#include <moe/base/error.h>
#include <moe/data/tokens.h>

namespace moe::data {

Tokens::Tokens(Storage storage) {
  const size_t count = storage.short_ids.size() + storage.ids.size();
  check(storage.trained.empty() || storage.trained.size() == count, "data/tokens",
        "expected a mark for each of ", count, " tokens, got ", storage.trained.size(), " marks.");
  auto shared = std::make_shared<const Storage>(std::move(storage));
  short_ids_ = shared->short_ids;
  ids_ = shared->ids;
  trained_ = shared->trained;
  owner_ = std::move(shared);
}

Tokens::Tokens(std::vector<int32_t> ids, std::vector<uint8_t> trained)
    : Tokens(Storage{{}, std::move(ids), std::move(trained)}) {}

int64_t Tokens::operator[](int64_t i) const {
  const auto at = static_cast<size_t>(i);
  if (!short_ids_.empty()) return short_ids_[at];
  return ids_.empty() ? static_cast<unsigned char>(bytes_[at]) : ids_[at];
}

void Tokens::copy(int64_t begin, std::span<int64_t> out) const {
  const auto count = static_cast<int64_t>(out.size());
  check(begin >= 0 && count <= size() && begin <= size() - count, "data/tokens",
        "expected a window inside ", size(), " tokens, got [", begin, ", ", begin + count, ").");
  const auto from = static_cast<size_t>(begin);
  if (!short_ids_.empty())
    std::ranges::copy(short_ids_.subspan(from, out.size()), out.begin());
  else if (!ids_.empty())
    std::ranges::copy(ids_.subspan(from, out.size()), out.begin());
  else
    std::transform(bytes_.begin() + begin, bytes_.begin() + begin + count, out.begin(),
                   [](char c) { return static_cast<int64_t>(static_cast<unsigned char>(c)); });
}

void TokensBuilder::append(std::span<const int64_t> ids) {
  if (is_short_)
    for (const int64_t id : ids) storage_.short_ids.push_back(static_cast<uint16_t>(id));
  else
    for (const int64_t id : ids) storage_.ids.push_back(static_cast<int32_t>(id));
}

void TokensBuilder::append(std::span<const int64_t> ids, bool trained) {
  append(ids);
  storage_.trained.resize(storage_.trained.size() + ids.size(), trained ? 1 : 0);
}

Tokens TokensBuilder::finish() && {
  storage_.short_ids.shrink_to_fit();
  storage_.ids.shrink_to_fit();
  storage_.trained.shrink_to_fit();
  return Tokens(std::move(storage_));
}

Tokens tokens_of_text(std::shared_ptr<const void> owner, std::string_view text,
                      const Tokenizer& tokenizer, int64_t threads) {
  if (tokenizer.is_bytes()) return {std::move(owner), text};
  TokensBuilder builder(tokenizer.vocabulary());
  tokenizer.encode_in_parts(text, threads,
                            [&](std::span<const int64_t> ids) { builder.append(ids); });
  return std::move(builder).finish();
}

}  // namespace moe::data
