// moe eval: how well a model predicts files of text.

#include <algorithm>
#include <iostream>

#include <ATen/Parallel.h>

#include <moe/objectives/evaluate.h>

#include "tools/moe/model_argument.h"

namespace moe::tools {

namespace {

struct EvalCommand {
  ModelArgument model;
  std::vector<std::string> data;
  std::string format = "text";
  std::string documents = "run";
  bool no_special = false;
  bool json = false;
  std::vector<double> budget = {};
};

Json evaluation_json(const objectives::TextLoss& result) {
  return {{"loss", result.loss()},
          {"perplexity", result.perplexity()},
          {"bits_per_byte", result.bits_per_byte()},
          {"tokens", result.tokens},
          {"bytes", result.bytes}};
}

std::string evaluation_line(const std::string& name, const objectives::TextLoss& result) {
  // Tokens that end texts stand for no bytes.
  const auto bits = result.bytes > 0 ? concat(result.bits_per_byte(), " bits per byte")
                                     : std::string("no bytes predicted");
  return concat(name, ": loss ", result.loss(), ", perplexity ", result.perplexity(), ", ", bits,
                ", ", grouped(result.tokens), " tokens\n");
}

/// Whether text of the files that reads like a special token is that token: not where none of the
/// run's own text was read so.
bool reads_special(const EvalCommand& o, const data::DataOptions& run) {
  const auto reads = [](const data::DomainOptions& domain) { return domain.special; };
  return !o.no_special && (run.domains.empty() || std::ranges::any_of(run.domains, reads));
}

int run_eval(const EvalCommand& o) {
  check_one_of("eval", "--documents", o.documents, {"run", "stream"});
  check<ConfigError>(!o.no_special || o.format != "tokens", "--no-special",
                     "expected text, got --format tokens, which is encoded. Leave it out.");
  for (const auto& path : o.data) check_input_file("--data", path);
  auto model = load_model(o.model);
  check(model.model->traits().vocabulary > 0, "eval",
        "expected a model of text, got one of images. Name a language model.");
  // Models of other programs, and converted ones, had no run.
  const auto run = model.config.find("data") ? models::data_options_of(model) : data::DataOptions();
  const auto packing = o.documents == "run" ? run.packing : data::PackingOptions();
  if (model.tokenizer && !reads_special(o, run))
    model.tokenizer = model.tokenizer->without_special();
  if (!o.json) std::cout << source_line(model);
  objectives::TextLoss total;
  Json files = Json::array();
  for (const auto& path : o.data) {
    const auto result = objectives::evaluate_file(model, path, o.format, packing, o.budget);
    total += result;
    Json file = {{"file", path}};
    file.update(evaluation_json(result));
    files.push_back(std::move(file));
    if (!o.json) std::cout << evaluation_line(path, result) << std::flush;
  }
  if (!o.json) {
    if (o.data.size() > 1) std::cout << evaluation_line("all", total);
    return 0;
  }
  Json out = evaluation_json(total);
  add_source(out, model);
  add_set_moe(out, o.model.top_k);
  add_budget(out, o.budget);
  out["threads"] = at::get_num_threads();
  out["files"] = std::move(files);
  print_json(out);
  return 0;
}

void setup_eval(CLI::App& app, EvalCommand& o) {
  add_model(app, o.model);
  add_budget(app, o.budget);
  app.add_option("--data", o.data, "files to predict, each from its beginning")
      ->required()
      ->type_name("FILE");
  app.add_option(
         "--format", o.format,
         "text, jsonl_text (one {\"text\"} a line), jsonl_prompt_completion (one {\"prompt\", "
         "\"completion\"} a line, of which completions are predicted), or tokens (a token file)")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--documents", o.documents,
                 "run: documents end and stand apart as data.packing of the run says; stream: the "
                 "file is one text")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_flag("--no-special", o.no_special,
               "text that reads like a special token (<|endoftext|>) is the text that it is; so it "
               "is anyway when every domain of the run has special = false");
  add_json(app, o.json);
}

}  // namespace

void add_eval(CLI::App& program, Session& session) {
  add_command<EvalCommand>(
      program, session,
      {"eval", "Mean cross entropy of a model on files of text.",
       "moe eval out/demo/moe --data out/demo/data/english/valid.txt   # after make demo",
       setup_eval, run_eval});
}

}  // namespace moe::tools
