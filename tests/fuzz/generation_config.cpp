// generation_config.json: the values it may set, and what generation takes them for.

#include <algorithm>

#include <nlohmann/json.hpp>

#include <moe/generation/generation_config.h>

#include "tests/fuzz/targets.h"

namespace moe::fuzz {

namespace {

nlohmann::json document_of(const generation::GenerationConfig& config) {
  nlohmann::json out = nlohmann::json::object();
  const auto put = [&](const char* key, const auto& value) {
    if (value) out[key] = *value;
  };
  put("do_sample", config.do_sample);
  put("temperature", config.temperature);
  put("top_p", config.top_p);
  put("min_p", config.min_p);
  put("repetition_penalty", config.repetition_penalty);
  put("top_k", config.top_k);
  put("max_new_tokens", config.max_tokens);
  if (!config.end_tokens.empty()) out["eos_token_id"] = config.end_tokens;
  return out;
}

}  // namespace

void generation_config(Bytes input) {
  generation::GenerationConfig config;
  const auto read = [&](std::string_view text) {
    config = generation::parse_generation_config(text, "'generation_config.json'");
  };
  if (!accepts([&] { read(text_of(input)); })) return;
  for (const int64_t id : config.end_tokens)
    require(id >= 0 && id <= int64_t{1} << 31, "an end token out of range: ", id);

  generation::GenerateOptions options;
  config.apply(options, {});
  require(accepts([&] { options.validate("generate"); }),
          "a configuration that was read makes options that are refused");
  require(options.end_tokens == config.end_tokens, "end tokens are lost");
  // What the command line gives wins.
  generation::GenerateOptions given;
  given.temperature = 0.25;
  given.top_k = 3;
  config.apply(given, {"temperature", "top_k"});
  require(given.temperature == 0.25 && given.top_k == 3, "a given option was replaced");

  const auto written = document_of(config);
  read(written.dump());
  require(document_of(config) == written, "the configuration changed when written");
}

}  // namespace moe::fuzz
