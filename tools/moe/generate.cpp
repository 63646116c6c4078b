// moe generate: text that follows a prompt.

#include <algorithm>
#include <iostream>
#include <iterator>
#include <optional>
#include <unistd.h>

#include <moe/base/log.h>
#include <moe/generation/generate.h>

#include "tools/moe/model_argument.h"

namespace moe::tools {

namespace {

struct GenerateCommand {
  ModelArgument model;
  std::optional<std::string> prompt;
  GenerateOptions options;
  bool json = false;
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

int run_generate(const GenerateCommand& o) {
  o.options.validate("generate");
  const auto model = load_model(o.model);
  const std::string prompt = o.prompt ? *o.prompt : read_stdin();
  if (!o.json) {
    // Standard output is the text and nothing else.
    if (const auto line = source_line(model); !line.empty())
      log::info(line.substr(0, line.size() - 1));
    generate(model, prompt, o.options,
             [](std::string_view text) { std::cout << text << std::flush; });
    // Only for people: a program gets the text as it is.
    if (::isatty(STDOUT_FILENO)) std::cout << '\n';
    return 0;
  }
  const auto result = generate(model, prompt, o.options);
  Json out = {{"text", result.text},
              {"tokens", result.tokens},
              {"finish_reason", result.finish_reason},
              {"tokens_per_second", result.tokens_per_second},
              {"prompt_tokens", result.prompt_tokens}};
  add_source(out, model);
  add_set_moe(out, o.model.top_k);
  print_json(out);
  return 0;
}

void setup_generate(CLI::App& app, GenerateCommand& o) {
  add_model(app, o.model);
  FieldOptions add{app};
  app.add_option_function<std::string>(
      "--prompt", [&o](const std::string& text) { o.prompt = text; },
      "text to continue; without it standard input is read; empty: a newline");
  o.options.fields(add);
  add_json(app, o.json);
}

}  // namespace

void add_generate(CLI::App& program, Session& session) {
  add_command<GenerateCommand>(
      program, session,
      {"generate", "Writes on after a prompt.",
       "moe generate out/demo/moe --prompt \"Once upon a time\" --temperature 0.8 --seed 1   "
       "# after make demo",
       setup_generate, run_generate});
}

}  // namespace moe::tools
