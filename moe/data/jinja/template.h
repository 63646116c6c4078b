#pragma once
// Templates of text in the language of Jinja, as far as chat templates use it.

#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include <moe/data/jinja/interpreter.h>

namespace moe::data::jinja {

/// A parsed template, set up as the library transformers does for chat templates: trim_blocks,
/// lstrip_blocks, break and continue, raise_exception, strftime_now, tojson by json.dumps; lists
/// and dicts cannot be changed, nothing outside can be reached. Immutable and thread-safe.
class Template {
 public:
  /// Throws Error naming the line of what the language, or this version, does not know, and for a
  /// source of more than 1 MiB.
  explicit Template(std::string_view source);

  /// The text with `variables`, an object. `now` is what strftime_now tells. Throws Error for what
  /// goes wrong, for raise_exception, and for a template that costs more than `limits`.
  std::string render(const nlohmann::ordered_json& variables, std::time_t now = std::time(nullptr),
                     const TemplateLimits& limits = {}) const;

 private:
  std::shared_ptr<const Block> block_;
};

}  // namespace moe::data::jinja
