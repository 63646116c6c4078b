#include <map>

#include <moe/base/error.h>
#include <moe/config/differences.h>

namespace moe::config {

namespace {

using Flat = std::map<std::string, std::string>;

void flatten(const Table& table, const std::string& prefix, Flat& out);

void flatten(const Value& value, const std::string& key, Flat& out) {
  const auto* list = value.as<Array>();
  if (const auto* table = value.as<Table>())
    flatten(*table, key + ".", out);
  else if (list && !list->empty() && list->front().as<Table>())
    for (size_t i = 0; i < list->size(); ++i) flatten((*list)[i], concat(key, '[', i, ']'), out);
  else
    out[key] = value.text();
}

void flatten(const Table& table, const std::string& prefix, Flat& out) {
  for (const auto& [key, value] : table) flatten(value, prefix + key_text(key), out);
}

}  // namespace

std::vector<Difference> differences(const Table& was, const Table& is) {
  Flat before, after;
  flatten(was, "", before);
  flatten(is, "", after);
  std::vector<Difference> out;
  for (const auto& [key, text] : after) {
    const auto found = before.find(key);
    const std::string old = found == before.end() ? "nothing" : found->second;
    if (old != text) out.push_back({key, old, text});
    if (found != before.end()) before.erase(found);
  }
  for (const auto& [key, text] : before) out.push_back({key, text, "nothing"});
  return out;
}

}  // namespace moe::config
