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
  starts_ = shared->starts;
  owner_ = std::move(shared);
  check_starts();
}

Tokens::Tokens(std::vector<int32_t> ids, std::vector<uint8_t> trained, std::vector<int64_t> starts)
    : Tokens(Storage{{}, std::move(ids), std::move(trained), std::move(starts)}) {}

Tokens::Tokens(std::shared_ptr<const void> owner, std::string_view bytes,
               std::vector<int64_t> starts)
    : bytes_(bytes) {
  using Both = std::pair<std::shared_ptr<const void>, std::vector<int64_t>>;
  auto both = std::make_shared<const Both>(std::move(owner), std::move(starts));
  starts_ = both->second;
  owner_ = std::move(both);
  check_starts();
}

Tokens::Tokens(std::shared_ptr<const void> owner, std::span<const uint16_t> ids,
               std::span<const uint8_t> trained, std::span<const int64_t> starts)
    : owner_(std::move(owner)), short_ids_(ids), trained_(trained), starts_(starts) {
  check_starts();
}

Tokens::Tokens(std::shared_ptr<const void> owner, std::span<const int32_t> ids,
               std::span<const uint8_t> trained, std::span<const int64_t> starts)
    : owner_(std::move(owner)), ids_(ids), trained_(trained), starts_(starts) {
  check_starts();
}

Tokens Tokens::part(int64_t begin, int64_t end) const {
  check(begin >= 0 && begin <= end && end <= size(), "data/tokens", "expected a part of ", size(),
        " tokens, got [", begin, ", ", end, ").");
  const auto cut = [&](auto values) {
    return values.empty()
               ? values
               : values.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  };
  Tokens out = *this;
  if (!bytes_.empty())
    out.bytes_ = bytes_.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  out.short_ids_ = cut(short_ids_);
  out.ids_ = cut(ids_);
  out.trained_ = cut(trained_);
  if (starts_.empty()) return out;
  using Both = std::pair<std::shared_ptr<const void>, std::vector<int64_t>>;
  auto both = std::make_shared<Both>(owner_, std::vector<int64_t>{0});
  for (auto start = std::ranges::upper_bound(starts_, begin);
       start != starts_.end() && *start < end; ++start)
    both->second.push_back(*start - begin);
  out.starts_ = both->second;
  out.owner_ = std::move(both);
  return out;
}

Tokens Tokens::without_documents() const {
  Tokens out = *this;
  out.starts_ = {};
  return out;
}

void Tokens::check_starts() const {
  for (size_t i = 0; i < starts_.size(); ++i)
    check(i == 0 ? starts_[0] == 0 : starts_[i] > starts_[i - 1] && starts_[i] < size(),
          "data/tokens", "expected documents to begin at 0 and ascending within ", size(),
          " tokens, got ", starts_[i], " for document ", i, '.');
}

int64_t Tokens::document_begin(int64_t i) const {
  return starts_.empty() ? 0 : *std::prev(std::ranges::upper_bound(starts_, i));
}

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

void TokensBuilder::begin_document() {
  const auto begin = static_cast<int64_t>(storage_.short_ids.size() + storage_.ids.size());
  // An empty document is not recorded.
  if (storage_.starts.empty() || storage_.starts.back() != begin) storage_.starts.push_back(begin);
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
  storage_.starts.shrink_to_fit();
  return Tokens(std::move(storage_));
}

Tokens joined(std::span<const Tokens> parts, int64_t vocabulary) {
  if (parts.size() == 1) return parts.front();
  constexpr int64_t kAtOnce = int64_t{1} << 16;
  const bool marked = std::ranges::any_of(parts, &Tokens::is_masked);
  const bool apart = std::ranges::all_of(parts, &Tokens::has_documents);
  TokensBuilder builder(vocabulary);
  std::vector<int64_t> ids;
  for (const auto& part : parts) {
    const auto starts = part.starts();
    auto start = starts.begin();
    for (int64_t begin = 0; begin < part.size();) {
      if (apart && start != starts.end() && *start == begin) {
        builder.begin_document();
        ++start;
      }
      const int64_t next = apart && start != starts.end() ? *start : part.size();
      const int64_t limit = std::min(begin + kAtOnce, next);
      int64_t end = begin + 1;  // of a stretch with one mark
      while (end < limit && part.is_trained(end) == part.is_trained(begin)) ++end;
      ids.resize(static_cast<size_t>(end - begin));
      part.copy(begin, ids);
      if (marked)
        builder.append(ids, part.is_trained(begin));
      else
        builder.append(ids);
      begin = end;
    }
  }
  return std::move(builder).finish();
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
