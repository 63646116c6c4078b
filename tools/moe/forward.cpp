// moe forward: logits, routing and gradients of given token ids, for comparison.

#include <iostream>

#include <moe/base/files.h>
#include <moe/formats/safetensors.h>
#include <moe/models/forward_pass.h>

#include "tools/moe/model_argument.h"

namespace moe::tools {

namespace {

constexpr uint64_t kLargestTokenFile = uint64_t{256} << 20;

struct ForwardCommand {
  ModelArgument model;
  std::string tokens;
  std::string out;
  models::ForwardRequest request;
};

/// Throws ConfigError where `out` is the tokens or a file of the model: writing it would lose them.
void check_output_file(const std::string& out, const std::string& tokens, const Path& model) {
  std::error_code missing;
  const bool input =
      std::filesystem::equivalent(out, tokens, missing) ||
      (std::filesystem::exists(out, missing) &&
       std::filesystem::equivalent(std::filesystem::absolute(out).parent_path(), model, missing));
  check<ConfigError>(!input, "--out", "expected a file beside the model and the tokens, got '", out,
                     "', which is one of theirs. Name another.");
}

int run_forward(const ForwardCommand& o) {
  check_input_file("--tokens", o.tokens);
  const std::string text = read_file(real_files(), o.tokens, kLargestTokenFile);
  const auto loaded = load_model(o.model, /*with_tokenizer=*/false);
  check_output_file(o.out, o.tokens, loaded.folder);
  const auto traits = loaded.model->traits();
  check(traits.vocabulary > 0, "forward", "expected a model of text, got one of images in '",
        o.model.path, "'. Name another; images are not read yet.");
  const auto rows = models::parse_token_rows(text, concat('\'', o.tokens, '\''), traits.vocabulary,
                                             traits.decoder_start >= 0);
  models::ForwardRequest request = o.request;
  request.names = loaded.names.get();
  request.any_length = loaded.names != nullptr;  // as the program that it comes from computes
  formats::write_safetensors(real_files(), o.out,
                             models::forward_pass(*loaded.model, rows, request));
  std::cout << o.out << '\n' << source_line(loaded);
  return 0;
}

void setup_forward(CLI::App& app, ForwardCommand& o) {
  add_model(app, o.model);
  add_budget(app, o.request.budget);
  app.add_option("--tokens", o.tokens,
                 "JSON file {\"input_ids\": [[…]…], \"attention_mask\": [[…]…]?}, padding at one "
                 "end of a row; encoder-decoders also read \"decoder_input_ids\": [[…]…]")
      ->required()
      ->type_name("FILE");
  app.add_option("--out", o.out, "safetensors file to write")->required()->type_name("FILE");
  app.add_flag("--routing", o.request.routing,
               "also layers.I.router_logits, .experts and .weights of every sparse layer I");
  app.add_flag("--grads", o.request.gradients,
               "also the loss, and grad.NAME of every parameter, NAME as in the checkpoint");
}

}  // namespace

void add_forward(CLI::App& program, Session& session) {
  add_command<ForwardCommand>(
      program, session,
      {"forward", "Logits, routing and gradients of given token ids, as a safetensors file.",
       "echo '{\"input_ids\": [[79, 110, 99, 101]]}' > ids.json && moe forward out/demo/moe "
       "--tokens ids.json "
       "--out out.safetensors --routing --grads   # after make demo",
       setup_forward, run_forward});
}

}  // namespace moe::tools
