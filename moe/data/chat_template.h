#pragma once
// How a model wants a conversation written.

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <moe/base/files.h>

namespace moe::data {

/// One turn of a conversation.
struct ChatMessage {
  std::string role;  // system, user, assistant
  std::string content;
};

/// Immutable and thread-safe.
class ChatTemplate {
 public:
  /// `source` in the language of Jinja (jinja/template.h); `variables` are there beside the
  /// messages (bos_token, eos_token), an object. Throws Error for a source that is no template.
  ChatTemplate(std::string_view source, const nlohmann::ordered_json& variables);
  ~ChatTemplate();

  /// The text of `messages`, and, where asked, of the beginning of the answer. It has the special
  /// tokens that the model expects, so that a tokenizer must not put any around it. Throws Error
  /// with the template's own words for messages that it does not take, and for a template that
  /// takes too long or writes too much.
  std::string render(const std::vector<ChatMessage>& messages,
                     bool add_generation_prompt = true) const;
  /// The same of messages as JSON has them (content in parts, tool calls); `more` (an object) goes
  /// beside them: tools, documents, enable_thinking.
  std::string render_json(const nlohmann::ordered_json& messages, bool add_generation_prompt,
                          const nlohmann::ordered_json& more) const;

 private:
  struct Parts;
  std::unique_ptr<const Parts> parts_;
};

/// The chat template of a model's folder: chat_template.jinja, or "chat_template" of its
/// tokenizer_config.json (of several the one named "default"); null where there is none. Throws
/// Error for files that are damaged.
std::shared_ptr<const ChatTemplate> read_chat_template(const Path& folder);

}  // namespace moe::data
