#pragma once
// The small parts of HTML: escaped text, numbers as people read them.

#include <cstdint>
#include <string>
#include <string_view>

namespace moe::report {

/// `text` for an element or an attribute in quotes: & < > " ' become entities, bytes that are no
/// UTF-8 U+FFFD, and control characters but tab and newline their pictures (U+2400 …), as HTML has
/// no way to write them.
std::string escaped(std::string_view text);

/// A JSON document for a <script> element: no '<' in it, so that nothing ends the element early.
std::string escaped_json(std::string_view json);

/// "1.2346" with `digits` behind the point; "–" for a number that is not finite.
std::string fixed(double value, int digits);
/// With about four significant digits and an exponent only where it is needed: "0.0123", "3.2e-05".
std::string short_number(double value);
/// "1.2 M", "305 k", "12": counts on axes and tiles.
std::string compact(double value);
/// "12.5 %".
std::string percent(double share, int digits = 1);
/// "+0.0123", "−0.0298".
std::string signed_number(double value, int digits);
/// A length in SVG user units, without needless digits.
std::string coordinate(double value);
/// "3 experts", "1 expert".
std::string plural(int64_t count, std::string_view noun);

}  // namespace moe::report
