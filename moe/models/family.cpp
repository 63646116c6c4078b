#include <map>

#include <moe/base/error.h>
#include <moe/models/family.h>

namespace moe::models {

std::shared_ptr<const Family> family_of(const std::string& name) {
  return families().at(name).make({}, {});
}

std::string family_name(const HfConfig& config) {
  std::map<std::string, std::string> known;
  for (const auto& name : families().names()) {
    known[name] = name;
    for (const auto& alias : family_of(name)->aliases()) known[alias] = name;
  }
  const HfConfig text = config.text_part();
  const Value* const all = text.settings().find("architectures");
  const auto* const list = all ? all->as<Array>() : nullptr;
  const auto* const architecture =
      list && !list->empty() ? list->front().as<std::string>() : nullptr;
  if (const auto found = architecture ? known.find(*architecture) : known.end();
      found != known.end())
    return found->second;
  const std::string type = (text.has("model_type") ? text : config).text("model_type");
  if (const auto found = known.find(type); found != known.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [name, family] : known) names.push_back(name);
  fail<ConfigError>("models/family", "expected a known model_type in ", config.source(), ", got '",
                    type, "'.", did_you_mean(type, names), " Known: ", join(names), '.');
}

std::shared_ptr<const Family> family_of(const HfConfig& config) {
  return family_of(family_name(config));
}

Table table_of(std::initializer_list<Table::Entry> entries) {
  Table out;
  for (const auto& [key, value] : entries) out.set(key, value);
  return out;
}

void refuse_differences(const std::vector<config::Difference>& found) {
  if (found.empty()) return;
  std::vector<std::string> lines;
  for (const auto& [key, was, is] : found)
    lines.push_back(concat(key, " = ", was, " would become ", is));
  fail("models/family",
       "expected a model that config.json of the family can describe, got one that differs in ",
       found.size(), " settings. Keep it in the native form, or name another family.",
       indented_list(lines));
}

#define MOE_REGISTRY families
#define MOE_REGISTRY_NAMES "model family", "family"
#define MOE_REGISTRY_TABLE <moe/models/families.def>
#include <moe/base/fill_registry.inc>

}  // namespace moe::models
