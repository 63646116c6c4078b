#include "tools/moe/model_argument.h"

#include <charconv>

#include <moe/base/error.h>

namespace moe::tools {

namespace {

constexpr const char* kSetMoe = "--set-moe";

int64_t parse_set_moe(const std::string& text) {
  const size_t equals = text.find('=');
  const std::string key = text.substr(0, equals);
  check<ConfigError>(key == "top_k" && equals != text.npos, kSetMoe, "expected top_k=N, got '",
                     text, "'.", key == "top_k" ? "" : did_you_mean(key, {"top_k"}),
                     " Of a trained model nothing else can be changed.");
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data() + equals + 1, end, number);
  check<ConfigError>(problem == std::errc() && stop == end && number >= 1, kSetMoe,
                     "expected top_k=N with a whole number of at least 1, got '", text,
                     "'. Correct the number.");
  return number;
}

std::vector<double> parse_budget(const std::string& text) {
  std::vector<double> out;
  const char *at = text.data(), *const end = at + text.size();
  for (bool more = true; more;) {
    const auto [stop, problem] = std::from_chars(at, end, out.emplace_back());
    check<ConfigError>(problem == std::errc() && (stop == end || *stop == ','), "--budget",
                       "expected a number, or one a layer with commas between them, got '", text,
                       "'. Correct it.");
    more = stop != end;
    at = stop + 1;
  }
  return out;
}

}  // namespace

void add_model(CLI::App& app, ModelArgument& o) {
  app.add_option("MODEL", o.path,
                 "a run (its newest checkpoint), one checkpoint, or a Hugging Face directory")
      ->required()
      ->type_name("DIR");
  add_device(app, o.device);
  add_dtype(app, o.dtype);
  add_threads(app, o.threads);
  add_no_verify(app, o.no_verify);
  add_set_moe(app, o.top_k);
}

models::LoadedModel load_model(const ModelArgument& o, bool with_tokenizer) {
  use_threads(o.threads);
  const at::Device device = parse_device(o.device);
  models::LoadOptions options;
  options.dtype = parse_dtype(o.dtype);
  options.with_tokenizer = with_tokenizer;
  options.verify = !o.no_verify;
  options.top_k = o.top_k;
  auto model = models::load(o.path, options);
  if (!device.is_cpu()) model.model->to(device);
  return model;
}

void add_no_verify(CLI::App& app, bool& no_verify) {
  app.add_flag("--no-verify", no_verify,
               "do not compare the files of a checkpoint with their checksums first");
}

void add_set_moe(CLI::App& app, std::optional<int64_t>& top_k) {
  app.add_option_function<std::string>(
         kSetMoe, [&top_k](const std::string& text) { top_k = parse_set_moe(text); },
         "experts a token chooses in every MoE layer, as top_k=N, instead of those of the training")
      ->type_name("top_k=N");
}

void add_budget(CLI::App& app, std::vector<double>& budget) {
  app.add_option_function<std::string>(
         "--budget", [&budget](const std::string& text) { budget = parse_budget(text); },
         "share of a token's choices that MoE layers compute, in (0, 1], the best first; or one a "
         "layer, 1 for those that do not route: 0.5,1,1")
      ->type_name("B[,B…]");
}

void add_budget(Json& document, const std::vector<double>& budget) {
  if (!budget.empty()) document["budget"] = budget;
}

void add_source(Json& document, const models::OpenedCheckpoint& checkpoint) {
  document["checkpoint"] = checkpoint.folder.string();
  document["step"] = checkpoint.step ? Json(*checkpoint.step) : Json();
}

void add_source(Json& document, const models::LoadedModel& model) {
  models::OpenedCheckpoint source;
  source.folder = model.folder;
  if (model.has_step) source.step = model.step;
  add_source(document, source);
}

std::string source_line(const models::LoadedModel& model) {
  return model.has_step ? concat("step ", grouped(model.step), " of ", model.folder.string(), '\n')
                        : "";
}

void add_set_moe(Json& document, const std::optional<int64_t>& top_k) {
  if (top_k) document["set_moe"] = {{"top_k", *top_k}};
}

}  // namespace moe::tools
