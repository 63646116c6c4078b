// moe tokenize: text to token ids and back, one JSON document a line; and training a vocabulary.

#include <iostream>

#include <moe/base/error.h>
#include <moe/base/files.h>
#include <moe/base/log.h>
#include <moe/data/bpe/bpe_trainer.h>
#include <moe/data/tokenizer.h>
#include <moe/models/load.h>

#include "tools/moe/model_argument.h"

namespace moe::tools {

namespace {

struct TokenizeOptions {
  std::vector<std::string> inputs;
  bool decode = false;
  bool no_special = false;
  bool special_as_text = false;
  bool no_verify = false;
  bool train = false;
  data::BpeTrainerOptions trainer;
  std::string out;
};

/// The tokenizer of a model; without a model the bytes themselves.
std::shared_ptr<const data::Tokenizer> tokenizer_of(const TokenizeOptions& o) {
  const auto& inputs = o.inputs;
  check<ConfigError>(inputs.size() <= 1, "tokenize", "expected one MODEL, got ", inputs.size(),
                     " names. Text comes on standard input; files are for --train.");
  return inputs.empty() ? data::make_tokenizer("byte")
                        : models::load_tokenizer(inputs[0], !o.no_verify);
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

Json convert_line(const data::Tokenizer& tokenizer, const Json& document,
                  const TokenizeOptions& o) {
  if (!o.decode) {
    const auto& text = document.get_ref<const std::string&>();
    return o.no_special ? tokenizer.encode(text) : tokenizer.encode_framed(text);
  }
  const auto ids = document.get<std::vector<int64_t>>();
  return o.no_special ? tokenizer.decode_plain(ids) : tokenizer.decode(ids);
}

int train_tokenizer(const TokenizeOptions& o) {
  check<ConfigError>(!o.decode && !o.no_special && !o.special_as_text, "tokenize",
                     "expected no --decode, --no-special or --special-as-text beside --train. "
                     "Leave them out.");
  check<ConfigError>(!o.out.empty() && o.out.ends_with(".json"), "tokenize",
                     "expected --out with a file that ends in .json beside --train, got '", o.out,
                     "'. Give --out DIR/tokenizer.json.");
  check<ConfigError>(!o.inputs.empty(), "tokenize",
                     "expected files of text beside --train, got none. Name at least one.");
  o.trainer.validate("tokenize");
  data::BpeTrainer trainer(o.trainer);
  for (const auto& path : o.inputs) {
    check_input_file("tokenize", path);
    const auto file = MappedFile::open(path);
    const auto bytes = file->bytes();
    trainer.add({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    log::info(concat(path, ": ", grouped(static_cast<int64_t>(bytes.size())), " bytes; ",
                     grouped(trainer.different_words()), " different words so far"));
  }
  const data::BpeModel model = trainer.train();
  const auto tokens = static_cast<int64_t>(model.tokens.size());
  if (tokens < o.trainer.vocabulary)
    log::warn(concat("no pair is left that occurs ", o.trainer.min_count,
                     " times: ", grouped(tokens), " tokens instead of ",
                     grouped(o.trainer.vocabulary), ". Give more text for more."));
  const Path out = o.out;
  make_folders(real_files(), folder_of(out));
  const std::string json = data::write_tokenizer_json(model);
  write_file_atomically(real_files(), out,
                        [&](OutputFile& target) { target.write(bytes_of(json)); });
  std::cout << o.out << ": " << grouped(tokens) << " tokens, "
            << grouped(static_cast<int64_t>(model.merges.size())) << " merges\n";
  return 0;
}

int tokenize(const TokenizeOptions& o) {
  if (o.train) return train_tokenizer(o);
  check<ConfigError>(o.out.empty() && o.trainer.special.empty(), "tokenize",
                     "expected --train beside --out and --special, got none. Add it, or leave "
                     "them out.");
  auto tokenizer = tokenizer_of(o);
  if (o.special_as_text) tokenizer = tokenizer->without_special();
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (line.empty()) continue;
    const Json document = read_line(line, number, o.decode);
    const Json answer = convert_line(*tokenizer, document, o);
    std::cout << answer.dump(-1, ' ', false, Json::error_handler_t::replace) << std::endl;
  }
  return 0;
}

void setup_tokenize(CLI::App& app, TokenizeOptions& o) {
  app.add_option("INPUT", o.inputs,
                 "MODEL: a run, a checkpoint or a tokenizer.json; without one a token is a byte. "
                 "With --train: files of text");
  app.add_flag("--decode", o.decode, "from ids to text");
  app.add_flag(
      "--no-special", o.no_special,
      "--decode: plain text, without special tokens. Encoding: the text alone, without the "
      "tokens that the tokenizer puts around it (BOS, EOS)");
  app.add_flag(
      "--special-as-text", o.special_as_text,
      "encode text that reads like a special token (<|endoftext|>) as the text that it is");
  add_no_verify(app, o.no_verify);
  app.add_flag("--train", o.train, "learn a byte-level BPE vocabulary from files of text");
  app.add_option("--vocabulary", o.trainer.vocabulary,
                 "tokens to learn, with the 256 bytes and special tokens")
      ->capture_default_str();
  app.add_option("--min-count", o.trainer.min_count, "least occurrences of a pair that is merged")
      ->capture_default_str();
  app.add_option("--special", o.trainer.special,
                 "a special token, as <|endoftext|>; may be repeated; ids from 0 in this order")
      ->allow_extra_args(false);
  app.add_option("--out", o.out, "the tokenizer.json that --train writes")->type_name("FILE");
}

}  // namespace

void add_tokenize(CLI::App& program, Session& session) {
  add_command<TokenizeOptions>(
      program, session,
      {"tokenize",
       "Text to token ids: one JSON string a line in, one JSON array a line out. With --train: "
       "learns a vocabulary.",
       "echo '\"To be\"' | moe tokenize", setup_tokenize, tokenize});
}

}  // namespace moe::tools
