#pragma once
// Finding added tokens in text.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <moe/data/bpe/bpe_model.h>

namespace moe::data {

/// Divides text at added tokens: of several that begin at one place the longest is taken, and what
/// is taken first goes on. Those with `normalized` are looked for in what the others leave.
/// Immutable and thread-safe.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::span<const AddedToken> tokens);

  /// Calls `take` with every part of `text` in order: an added token with its id, other text (never
  /// empty) without one.
  using Take = std::function<void(std::string_view part, std::optional<uint32_t> id)>;
  void divide(std::string_view text, const Take& take) const;

 private:
  /// Tokens that are looked for together, by their first byte, longest first.
  struct Level {
    std::vector<std::vector<AddedToken>> by_first_byte;
    const AddedToken* find(std::string_view text) const;
  };
  void divide(std::string_view text, size_t level, const Take& take) const;

  std::vector<Level> levels_;
};

}  // namespace moe::data
