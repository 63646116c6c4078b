#include <nlohmann/json.hpp>

#include <moe/base/error.h>
#include <moe/data/chat_template.h>
#include <moe/data/jinja/template.h>
#include <moe/formats/strict_json.h>

namespace moe::data {

namespace {

using nlohmann::ordered_json;

constexpr uint64_t kLargestChatFile = 64u << 20;

/// A special token as text, or as an object with "content".
std::string special_token(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  const auto text = value.is_object() ? value.find("content") : value.end();
  return value.is_object() && text != value.end() && text->is_string() ? text->get<std::string>()
                                                                       : std::string();
}

/// "chat_template" of a tokenizer_config.json; "" where it has none.
std::string template_in(const nlohmann::json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end()) return "";
  if (found->is_string()) return found->get<std::string>();
  std::string out;
  for (const auto& each : *found) {
    if (!each.is_object() || !each.contains("name") || !each.contains("template")) continue;
    const bool is_default = each["name"] == "default";
    if ((is_default || out.empty()) && each["template"].is_string())
      out = each["template"].get<std::string>();
    if (is_default) break;
  }
  return out;
}

}  // namespace

struct ChatTemplate::Parts {
  jinja::Template text;
  ordered_json variables;
};

ChatTemplate::ChatTemplate(std::string_view source, const ordered_json& variables)
    : parts_(std::make_unique<const Parts>(Parts{jinja::Template(source), variables})) {}

ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages,
                                 bool add_generation_prompt) const {
  ordered_json list = ordered_json::array();
  for (const auto& [role, content] : messages)
    list.push_back({{"role", role}, {"content", content}});
  return render_json(list, add_generation_prompt, ordered_json::object());
}

std::string ChatTemplate::render_json(const ordered_json& messages, bool add_generation_prompt,
                                      const ordered_json& more) const {
  ordered_json variables = parts_->variables;
  variables["messages"] = messages;
  variables["add_generation_prompt"] = add_generation_prompt;
  for (const auto& item : more.items()) variables[item.key()] = item.value();
  return parts_->text.render(variables);
}

std::shared_ptr<const ChatTemplate> read_chat_template(const Path& folder) {
  auto& files = real_files();
  const Path config_path = folder / "tokenizer_config.json", file = folder / "chat_template.jinja";
  nlohmann::json config = nlohmann::json::object();
  if (files.exists(config_path))
    config =
        formats::parse_strict_json(read_file(files, config_path, kLargestChatFile), "chat template",
                                   concat('\'', config_path.string(), '\''), {.depth = 32});
  const std::string source =
      files.exists(file) ? read_file(files, file, kLargestChatFile) : template_in(config);
  if (source.empty()) return nullptr;
  ordered_json variables = ordered_json::object();
  for (const char* key :
       {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"})
    if (config.contains(key))
      if (const std::string token = special_token(config[key]); !token.empty())
        variables[key] = token;
  return std::make_shared<const ChatTemplate>(source, variables);
}

}  // namespace moe::data
