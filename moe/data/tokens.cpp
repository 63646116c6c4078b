#include <algorithm>

#include <moe/base/error.h>
#include <moe/data/tokens.h>

namespace moe::data {

Tokens::Tokens(std::vector<int32_t> ids, std::vector<uint8_t> trained) {
  check(trained.empty() || trained.size() == ids.size(), "data/tokens",
        "expected a mark for each of ", ids.size(), " tokens, got ", trained.size(), " marks.");
  struct Storage {
    std::vector<int32_t> ids;
    std::vector<uint8_t> trained;
  };
  auto storage = std::make_shared<const Storage>(Storage{std::move(ids), std::move(trained)});
  ids_ = storage->ids;
  trained_ = storage->trained;
  owner_ = std::move(storage);
}

int64_t Tokens::operator[](int64_t i) const {
  const auto at = static_cast<size_t>(i);
  return ids_.empty() ? static_cast<unsigned char>(bytes_[at]) : ids_[at];
}

void Tokens::copy(int64_t begin, std::span<int64_t> out) const {
  const auto count = static_cast<int64_t>(out.size());
  check(begin >= 0 && count <= size() && begin <= size() - count, "data/tokens",
        "expected a window inside ", size(), " tokens, got [", begin, ", ", begin + count, ").");
  const auto from = static_cast<size_t>(begin);
  if (ids_.empty())
    std::transform(bytes_.begin() + begin, bytes_.begin() + begin + count, out.begin(),
                   [](char c) { return static_cast<int64_t>(static_cast<unsigned char>(c)); });
  else
    std::ranges::copy(ids_.subspan(from, out.size()), out.begin());
}

}  // namespace moe::data
