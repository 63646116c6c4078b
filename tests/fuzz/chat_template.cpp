// A chat template, rendered with a small conversation and small limits.

#include <nlohmann/json.hpp>

#include <moe/data/jinja/template.h>

#include "tests/fuzz/targets.h"

namespace moe::fuzz {

void chat_template(Bytes input) {
  static const auto variables = nlohmann::ordered_json::parse(
      R"({"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true, "n": 3, "x": 1.5,
          "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße 你好"},
                       {"role": "assistant", "content": null, "tool_calls": [{"name": "f", "arguments": {"a": [1, 2]}}]}]})");
  data::jinja::TemplateLimits limits;
  limits.steps = 20000;
  limits.output = 1 << 16;
  limits.memory = 1 << 20;
  std::string text;
  const auto render = [&] {
    text = data::jinja::Template(text_of(input)).render(variables, 1700049600, limits);
  };
  if (!accepts(render)) return;
  require(text.size() <= limits.output, "more than the limit was written: ", text.size());
  const std::string once = text;
  render();
  require(text == once, "the template wrote something else the second time");
}

}  // namespace moe::fuzz
