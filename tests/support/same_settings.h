#pragma once
// Equality of settings.

#include <moe/base/value.h>

namespace moe::test {

/// Equal but for the order of keys and the line numbers. Numbers are compared by their text, so
/// that nan is nan and -0.0 is not 0.0.
inline bool same(const Value& a, const Value& b) {
  if (const auto* left = a.as<Table>()) {
    const auto* right = b.as<Table>();
    if (!right || left->size() != right->size()) return false;
    for (const auto& [key, value] : *left)
      if (!right->find(key) || !same(value, *right->find(key))) return false;
    return true;
  }
  if (const auto* left = a.as<Array>()) {
    const auto* right = b.as<Array>();
    if (!right || left->size() != right->size()) return false;
    for (size_t i = 0; i < left->size(); ++i)
      if (!same((*left)[i], (*right)[i])) return false;
    return true;
  }
  return a.type_name() == b.type_name() && a.text() == b.text();
}

}  // namespace moe::test
