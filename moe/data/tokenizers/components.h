#pragma once
// What the components of a tokenizer.json have in common: they are objects with a "type".

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <moe/data/tokenizers/regex.h>
#include <moe/data/tokenizers/tokenizer_json.h>

namespace moe::data {

/// A component's kind and what reads it.
template <class Component>
struct ComponentKind {
  const char* type;
  /// `where` ends in a dot.
  std::unique_ptr<Component> (*read)(const TokenizerJson& in, const nlohmann::json& object,
                                     const std::string& where);
};

/// The component that `object` describes, by the table `kinds`.
template <class Component, size_t N>
std::unique_ptr<Component> read_component(const ComponentKind<Component> (&kinds)[N],
                                          const TokenizerJson& in, const nlohmann::json& object,
                                          const std::string& where) {
  const std::string& type = in.string_at(object, where + '.', "type");
  std::vector<std::string> known;
  for (const auto& kind : kinds) {
    if (type == kind.type) return kind.read(in, object, where + '.');
    known.push_back(kind.type);
  }
  in.refuse(where, concat("one of ", join(known)), formats::in_quotes(type),
            concat(" This version does not know it.", did_you_mean(type, known)));
}

/// Checks that a component has no other keys than "type" and `known`.
inline void check_component(const TokenizerJson& in, const nlohmann::json& object,
                            const std::string& where, std::vector<std::string> known) {
  known.push_back("type");
  in.check_keys(object, where.substr(0, where.size() - 1), known);
}

/// What is looked for: {"String": …} as it is written, {"Regex": …}. Immutable and thread-safe.
class TextPattern {
 public:
  TextPattern(const TokenizerJson& in, const nlohmann::json& object, const std::string& where,
              const char* key);

  /// Calls take(begin, end, whether it is a match) for all stretches of `text` in order.
  template <class Take>
  void divide(std::string_view text, Take&& take) const {
    if (regex_) return regex_->divide(text, take);
    size_t done = 0;
    for (size_t at; (at = text.find(literal_, done)) != text.npos; done = at + literal_.size()) {
      if (at > done) take(done, at, false);
      take(at, at + literal_.size(), true);
    }
    if (done < text.size()) take(done, text.size(), false);
  }
  std::string replace(std::string_view text, std::string_view content) const;

 private:
  std::string literal_;
  std::shared_ptr<const Regex> regex_;
};

}  // namespace moe::data
