#pragma once
// A template's source as tokens.

#include <string>
#include <string_view>
#include <vector>

namespace moe::data::jinja {

struct Token {
  enum class Kind {
    kText,
    kOpenOutput,  // {{
    kCloseOutput,
    kOpenBlock,  // {%
    kCloseBlock,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind;
  std::string text;
  size_t line;
};

/// The tokens of `source`, with white space trimmed as transformers sets the environment up
/// (trim_blocks, lstrip_blocks) and as "-" and "+" in tags say; comments are gone. Throws Error
/// naming the line of what is no token.
std::vector<Token> tokenize_template(std::string_view source);

}  // namespace moe::data::jinja
