#pragma once
// From a template's tokens to its statements.

#include <string_view>

#include <moe/data/jinja/syntax.h>

namespace moe::data::jinja {

/// Throws Error naming the line of what the template language, as far as chat templates use it,
/// does not know: extends, include, import and blocks with names among others.
Block parse_template(std::string_view source);

}  // namespace moe::data::jinja
