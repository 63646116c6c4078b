// moe generate: text that follows a prompt.

#include <algorithm>
#include <iostream>
#include <iterator>
#include <optional>
#include <unistd.h>

#include <moe/base/log.h>
#include <moe/data/chat_template.h>
#include <moe/generation/generation_config.h>

#include "tools/moe/model_argument.h"

namespace moe::tools {

namespace {

struct GenerateCommand {
  ModelArgument model;
  std::optional<std::string> prompt;
  GenerateOptions options;
  bool chat = false;
  std::string system;
  bool json = false;
  const CLI::App* app = nullptr;
};

/// A field as an option: max_tokens becomes --max-tokens; what is done unless it is switched off
/// becomes --no-NAME.
struct FieldOptions {
  CLI::App& app;

  template <class T>
  void operator()(std::string name, T& field, const char* help) {
    std::replace(name.begin(), name.end(), '_', '-');
    app.add_option("--" + name, field, help)->capture_default_str();
  }
  void operator()(std::string name, bool& field, const char* help) {
    std::replace(name.begin(), name.end(), '_', '-');
    if (!field)
      app.add_flag("--" + name, field, help);
    else
      app.add_flag_callback(
          "--no-" + name, [&field] { field = false; }, concat("do not ", help));
  }
  void operator()(const std::string& name, std::vector<std::string>& field, const char* help) {
    app.add_option("--" + name, field, concat(help, "; may be repeated"))->allow_extra_args(false);
  }
};

std::string read_stdin() {
  return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

/// The options as they were given, and where they were not as the model's authors say.
GenerateOptions options_for(const GenerateCommand& o, const models::LoadedModel& model) {
  GenerateOptions out = o.options;
  std::vector<std::string> given;
  for (const char* name :
       {"temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_tokens"}) {
    std::string option = concat("--", name);
    std::replace(option.begin(), option.end(), '_', '-');
    if (o.app->get_option(option)->count() > 0) given.push_back(name);
  }
  generation::read_generation_config(model.folder).apply(out, given);
  out.framed = !o.chat;
  return out;
}

/// The prompt as a conversation of one turn.
std::string chat_prompt(const GenerateCommand& o, const models::LoadedModel& model,
                        const std::string& prompt) {
  const auto chat = data::read_chat_template(model.folder);
  check<ConfigError>(chat != nullptr, "generate",
                     "expected a chat template beside the model for --chat "
                     "(chat_template.jinja, or chat_template in tokenizer_config.json), found "
                     "none in '",
                     model.folder.string(),
                     "'. Leave --chat out, or add one: a run takes that of train.init or of the "
                     "folder of data.tokenizer.");
  std::vector<data::ChatMessage> messages;
  if (!o.system.empty()) messages.push_back({"system", o.system});
  messages.push_back({"user", prompt});
  return chat->render(messages);
}

/// What is to be said of a text that the model would have gone on with: that its context is full,
/// or, of an answer, which should come to an end, that it was long enough.
std::string why_cut_off(const GenerateCommand& o, const models::LoadedModel& model,
                        const GenerateOptions& options, const GenerateResult& result) {
  if (result.finish_reason != "length") return "";
  const auto tokens = static_cast<int64_t>(result.tokens.size());
  if (tokens < options.max_tokens) {
    const auto traits = model.model->traits();
    return concat("the text ends after ", tokens,
                  " tokens: ", traits.decoder_start >= 0 ? "it fills" : "prompt and text fill",
                  " the model's context of ", traits.context_length, " tokens.");
  }
  return o.chat ? concat("the answer is cut off after ", tokens,
                         " tokens. Raise --max-tokens for more of it.")
                : "";
}

int run_generate(const GenerateCommand& o) {
  o.options.validate("generate");
  check<ConfigError>(o.chat || o.system.empty(), "generate",
                     "expected --chat beside --system, got none. Add it, or leave --system out.");
  check<ConfigError>(!o.chat || o.options.special, "generate",
                     "expected --no-special or --chat, got both: the template's own special tokens "
                     "would be text. Leave one out.");
  const auto model = load_model(o.model);
  const GenerateOptions options = options_for(o, model);
  std::string prompt = o.prompt ? *o.prompt : read_stdin();
  if (o.chat) prompt = chat_prompt(o, model, prompt);
  if (!o.json) {
    // Standard output is the text and nothing else.
    if (const auto line = source_line(model); !line.empty())
      log::info(line.substr(0, line.size() - 1));
    const auto result = generate(model, prompt, options,
                                 [](std::string_view text) { std::cout << text << std::flush; });
    // Only for people: a program gets the text as it is.
    if (::isatty(STDOUT_FILENO)) std::cout << '\n';
    if (const auto why = why_cut_off(o, model, options, result); !why.empty()) log::warn(why);
    return 0;
  }
  const auto result = generate(model, prompt, options);
  Json out = {{"text", result.text},
              {"tokens", result.tokens},
              {"finish_reason", result.finish_reason},
              {"tokens_per_second", result.tokens_per_second},
              {"prompt_tokens", result.prompt_tokens}};
  add_source(out, model);
  add_set_moe(out, o.model.top_k);
  add_budget(out, o.options.budget);
  print_json(out);
  return 0;
}

void setup_generate(CLI::App& app, GenerateCommand& o) {
  add_model(app, o.model);
  add_budget(app, o.options.budget);
  FieldOptions add{app};
  app.add_option_function<std::string>(
      "--prompt", [&o](const std::string& text) { o.prompt = text; },
      "text to continue; without it standard input is read; empty: a newline");
  o.options.fields(add);
  app.add_flag(
      "--chat", o.chat,
      "write the prompt as the user's turn of a conversation, by the model's chat template");
  app.add_option("--system", o.system, "--chat: instructions before the user's turn");
  o.app = &app;
  add_json(app, o.json);
}

}  // namespace

void add_generate(CLI::App& program, Session& session) {
  add_command<GenerateCommand>(
      program, session,
      {"generate",
       "Writes on after a prompt. What is not given is as the model's generation_config.json says.",
       "moe generate out/demo/moe --prompt \"Once upon a time\" --temperature 0.8 --seed 1   "
       "# after make demo",
       setup_generate, run_generate});
}

}  // namespace moe::tools
