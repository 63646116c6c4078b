#include <moe/models/family.h>

namespace moe::models {

std::shared_ptr<const Family> family_of(const std::string& name) {
  return families().at(name).make({}, {});
}

std::shared_ptr<const Family> family_of(const HfConfig& config) {
  return family_of(config.text("model_type"));
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
