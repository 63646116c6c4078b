#pragma once
// Names of tensors with numbers in them: "layers.{i}.norm.scale".

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace moe::models {

/// What the places of a pattern stand for: {"i": 3}.
using Numbers = std::map<std::string, int64_t>;

/// The numbers that make `pattern` the same as `name`; nothing when none do. Numbers are written
/// without leading zeros, and a place that comes twice holds the same number.
std::optional<Numbers> match_numbers(std::string_view pattern, std::string_view name);

/// `pattern` with every {x} replaced. Throws moe::Error for a place without a number.
std::string put_numbers(std::string_view pattern, const Numbers& numbers);

}  // namespace moe::models
