#include <nlohmann/json.hpp>

#include <moe/base/error.h>
#include <moe/base/utf8.h>
#include <moe/data/jinja/parser.h>
#include <moe/data/jinja/template.h>

namespace moe::data::jinja {

namespace {

constexpr size_t kLongestTemplate = size_t{1} << 20;

}  // namespace

Template::Template(std::string_view source) {
  check(source.size() <= kLongestTemplate && is_utf8(source), "chat template",
        "expected a template of at most ", kLongestTemplate, " bytes of UTF-8, got ", source.size(),
        ". Write a shorter one.");
  block_ = std::make_shared<const Block>(parse_template(source));
}

std::string Template::render(const nlohmann::ordered_json& variables, std::time_t now,
                             const TemplateLimits& limits) const {
  check(variables.is_object(), "chat template", "expected variables by name, got something else.");
  Scope scope;
  for (const auto& item : variables.items()) scope.set(item.key(), from_json(item.value()));
  Interpreter interpreter(limits, now);
  return interpreter.render(*block_, scope);
}

}  // namespace moe::data::jinja
