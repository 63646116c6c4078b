// moe data: corpora that the program writes itself, and token files.

#include <iostream>

#include <corpora/corpora.h>
#include <moe/base/fields.h>
#include <moe/data/corpus.h>
#include <moe/data/token_file.h>
#include <moe/models/load.h>

#include "tools/moe/model_argument.h"

namespace moe::tools {

namespace {

struct SynthCommand {
  std::string out;
  corpora::Options options;
};

int synth(const SynthCommand& o) {
  o.options.validate("data synth");
  corpora::write(o.out, o.options);
  corpora::verify(o.out);
  std::cout << o.out << '\n';
  return 0;
}

void setup_synth(CLI::App& app, SynthCommand& o) {
  app.add_option("--out", o.out, "folder to write to")->required()->type_name("DIR");
  add_seed(app, o.options.seed);
  app.add_option("--bytes-per-domain", o.options.bytes_per_domain,
                 "bytes of text of one domain, validation included")
      ->capture_default_str();
  app.add_option("--validation-share", o.options.validation_share,
                 "share of the bytes that goes to validation")
      ->capture_default_str();
}

struct TokenizeCommand {
  std::vector<std::string> inputs;
  std::string tokenizer;
  std::string out;
  std::string format = "text";
  data::PackingOptions packing;
  bool no_special = false;
  int64_t threads = 0;
  bool no_verify = false;
};

int tokenize_files(const TokenizeCommand& o) {
  check_one_of("data tokenize", "--format", o.format,
               {"text", "jsonl_text", "jsonl_prompt_completion"});
  o.packing.validate("data tokenize");
  auto tokenizer = models::load_tokenizer(o.tokenizer, !o.no_verify);
  if (o.no_special) tokenizer = tokenizer->without_special();
  auto layout =
      data::make_layout(o.packing, *tokenizer, o.threads != 0 ? o.threads : usable_cores());
  // Where documents begin is kept; a run may still read them as one stream.
  layout.packing.attention = "document";
  std::vector<data::Tokens> parts;
  for (const auto& path : o.inputs) {
    std::error_code error;
    check<ConfigError>(std::filesystem::is_regular_file(path, error), "data tokenize",
                       "expected a file of text, found none at '", path, "'. Correct the path.");
    const auto file = MappedFile::open(path);
    const auto bytes = file->bytes();
    parts.push_back(data::read_tokens(file,
                                      {reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                                      o.format, *tokenizer, layout));
  }
  const data::Tokens all = data::joined(parts, tokenizer->vocabulary());
  check(!all.empty(), "data tokenize", "expected text in the files, got none. Give more.");
  make_folders(real_files(), folder_of(o.out));
  data::write_token_file(real_files(), o.out, all, *tokenizer);
  std::cout << o.out << ": " << grouped(all.size()) << " tokens in "
            << grouped(static_cast<int64_t>(all.starts().size())) << " documents\n";
  return 0;
}

void setup_tokenize_files(CLI::App& app, TokenizeCommand& o) {
  app.add_option("TEXT", o.inputs, "files, laid one behind another")->required();
  app.add_option("--tokenizer", o.tokenizer, "a tokenizer.json, a run or a checkpoint")->required();
  app.add_option("--out", o.out, "the token file to write")->required()->type_name("FILE");
  app.add_option("--format", o.format, "text, jsonl_text or jsonl_prompt_completion")
      ->capture_default_str();
  app.add_option("--documents", o.packing.documents,
                 "what is one document of a text: file, blank_line, line or separator")
      ->capture_default_str();
  app.add_option("--separator", o.packing.separator,
                 "the string behind each document, for --documents separator");
  app.add_flag("--end-of-text", o.packing.end_of_text,
               "put the tokenizer's end-of-text token behind each document");
  app.add_flag("--no-special", o.no_special,
               "text that reads like a special token (<|endoftext|>) is the text that it is");
  add_threads(app, o.threads);
  add_no_verify(app, o.no_verify);
}

}  // namespace

void add_data(CLI::App& program, Session& session) {
  const char* example = "moe data synth --out out/data --seed 1";
  CLI::App& group =
      add_group(program, "data", "Makes the demo's text; encodes files as tokens.", example);
  add_command<SynthCommand>(
      group, session,
      {"synth", "Writes the demo's corpora, one folder a domain, with checksums.", example,
       setup_synth, synth});
  add_command<TokenizeCommand>(
      group, session,
      {"tokenize",
       "Encodes files once into a token file, which a run maps (format = \"tokens\" in "
       "[[data.domains]]).",
       "moe tokenize --train out/demo/data/english/train.txt --special '<|endoftext|>' "
       "--vocabulary 400 "
       "--out tokenizer.json && moe data tokenize out/demo/data/english/train.txt --tokenizer "
       "tokenizer.json --documents blank_line --end-of-text --out english.tokens   # after make "
       "demo",
       setup_tokenize_files, tokenize_files});
}

}  // namespace moe::tools
