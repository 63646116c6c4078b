#pragma once

#include <string_view>

namespace moe {

/// Whether `pattern` fits the whole of `text`: '*' is any text, also none and across dots, '?' is
/// any one byte, everything else is itself. Takes time in proportion to the product of the lengths
/// at most.
bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace moe
