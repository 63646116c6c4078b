// moe tokenize: text to token ids and back, one JSON document a line.

#include <iostream>

#include <moe/base/error.h>
#include <moe/data/tokenizer.h>
#include <moe/models/load.h>

#include "tools/moe/common.h"

namespace moe::tools {

namespace {

struct TokenizeOptions {
  std::string model;
  bool decode = false;
  bool no_special = false;
};

/// The tokenizer of a model's run; without a model the bytes themselves.
std::shared_ptr<const data::Tokenizer> tokenizer_of(const std::string& model) {
  if (model.empty()) return data::make_tokenizer("byte");
  const Table config = models::load_config(model);
  const Value* section = config.find("data");
  const Table* table = section ? section->as<Table>() : nullptr;
  const Value* kind = table ? table->find("tokenizer") : nullptr;
  const auto* name = kind ? kind->as<std::string>() : nullptr;
  return data::make_tokenizer(name ? *name : "byte");
}

Json read_line(const std::string& line, int64_t number, bool decode) {
  const Json document = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  bool fits = decode ? document.is_array() : document.is_string();
  if (decode && fits)
    for (const auto& id : document) fits &= id.is_number_integer();
  check(fits, "tokenize", "expected ",
        decode ? "a JSON array of token ids" : "a JSON string in double quotes", " on line ",
        number, " of the input, got something else. Write one a line",
        decode ? "." : "; `jq -R .` turns plain lines into JSON strings.");
  return document;
}

int tokenize(const TokenizeOptions& o) {
  const auto tokenizer = tokenizer_of(o.model);
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.empty()) continue;
    const Json document = read_line(line, number, o.decode);
    const Json answer = o.decode ? Json(tokenizer->decode(document.get<std::vector<int64_t>>()))
                                 : Json(tokenizer->encode(document.get<std::string>()));
    std::cout << answer.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
  }
  return 0;
}

void setup_tokenize(CLI::App& app, TokenizeOptions& o) {
  app.add_option("MODEL", o.model, "a run or checkpoint; without one a token is a byte");
  app.add_flag("--decode", o.decode, "from ids to text");
  app.add_flag("--no-special", o.no_special,
               "plain text without special tokens; the byte tokenizer has none");
}

}  // namespace

void add_tokenize(CLI::App& program, Session& session) {
  add_command<TokenizeOptions>(
      program, session,
      {"tokenize", "Text to token ids: one JSON string a line in, one JSON array a line out.",
       "echo '\"To be\"' | moe tokenize", setup_tokenize, tokenize});
}

}  // namespace moe::tools
