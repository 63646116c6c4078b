#pragma once
// config.json of a Hugging Face directory.

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <moe/base/files.h>
#include <moe/base/value.h>

namespace moe::models {

inline constexpr const char* kHfConfigName = "config.json";

/// The settings of a Hugging Face model, asked for key by key. It remembers which keys were asked
/// for: a key that nobody knows could change what the model computes, so `refuse_unread` refuses
/// it. A key that holds null is as good as absent. Everything throws moe::Error that names the key.
/// Copies share what was read; not thread-safe.
class HfConfig {
 public:
  /// `source` names the document in messages.
  HfConfig(Table settings, std::string source);
  /// Reads config.json of `folder`.
  static HfConfig read(const Path& folder);

  /// Whether the key is there and holds something.
  bool has(std::string_view key) const;
  /// Whether the key is there, holding something or null.
  bool names(std::string_view key) const;
  /// A whole number of at least 1.
  int64_t size(std::string_view key) const;
  int64_t size(std::string_view key, int64_t fallback) const;
  /// A whole number of at least 0.
  int64_t count(std::string_view key, int64_t fallback) const;
  double number(std::string_view key) const;
  double number(std::string_view key, double fallback) const;
  bool flag(std::string_view key, bool fallback) const;
  std::string text(std::string_view key) const;
  std::string text(std::string_view key, std::string_view fallback) const;
  /// A list of whole numbers of at least 0, one for each of `layers`; empty where it is absent.
  std::vector<int64_t> counts(std::string_view key, int64_t layers) const;
  /// A list of whole numbers of at least 0, as many as there are; empty where it is absent.
  std::vector<int64_t> indices(std::string_view key) const;
  /// A list of strings, each one of `known`, one for each of `layers`; empty where it is absent.
  std::vector<std::string> texts(std::string_view key, int64_t layers,
                                 const std::vector<std::string>& known) const;
  /// The table under `key`; an empty one where it is absent.
  HfConfig inside(std::string_view key) const;

  /// What describes the language model: of a multimodal directory the table `text_config`, to which
  /// tie_word_embeddings beside it is added (it wins); of others all.
  HfConfig text_part() const;

  bool is_multimodal() const { return has("text_config"); }

  /// Keys that change nothing of what is computed here; `*` stands for any text.
  void ignore(const std::vector<std::string>& keys) const;
  /// Keys that are known but only with these values: refuses others. `reason` completes "… is not
  /// there yet: ".
  void only(std::string_view key, const std::vector<Value>& values, std::string_view reason) const;
  /// Throws moe::Error listing every key that was neither asked for nor ignored.
  void refuse_unread() const;

  const Table& settings() const { return *settings_; }
  const std::string& source() const { return source_; }

 private:
  const Value* find(std::string_view key) const;
  const Value& need(std::string_view key, const char* what) const;
  std::string shown(std::string_view key) const;
  const Array* list(std::string_view key, int64_t layers) const;
  [[noreturn]] void wrong(std::string_view key, const char* expected, const Value& value) const;
  void collect_unread(std::vector<std::string>& out) const;

  std::shared_ptr<const Table> settings_;
  std::string source_, prefix_;
  /// Dotted keys and patterns, over all tables.
  std::shared_ptr<std::set<std::string, std::less<>>> read_;
};

/// Maps names of activations between config.json and ours; silu if absent; throws for unknown ones.
std::string activation_of(const HfConfig& config, std::string_view key);
std::string hf_activation(const std::string& ours);

}  // namespace moe::models
