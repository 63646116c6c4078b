// moe convert: a model from one form of directory to another.

#include <algorithm>
#include <iomanip>
#include <iostream>

#include <moe/base/error.h>
#include <moe/base/log.h>
#include <moe/models/expert_forms.h>
#include <moe/models/family.h>
#include <moe/models/save.h>
#include <moe/train/run.h>

#include "tools/moe/interruptible_files.h"
#include "tools/moe/model_argument.h"
#include "tools/moe/signals.h"

namespace moe::tools {

namespace {

struct ConvertCommand {
  std::string source, target;
  std::string to;
  std::string family;
  std::string dtype;
  std::string quantize;
  int64_t threads = 0;
  bool no_verify = false;
  bool read_sources = false;
  int64_t low_rank = 0;
  bool whole_out = false;
  bool merge = false;
  bool adapters = false;
  std::string add_adapters;
};

/// Tried before all others: what most programs read.
const std::vector<std::string> kUsualFamilies = {"mixtral", "qwen3_moe", "qwen2_moe", "deepseek_v3",
                                                 "llama",   "qwen3",     "mistral"};

/// The family whose config.json can describe the model: that of the directory it comes from, if it
/// can, else the first of the usual ones, else the first.
std::string family_for(const models::LoadedModel& model) {
  const auto spec = model.spec();
  std::vector<std::string> names;
  const auto known = models::families().names();
  const auto add = [&](const std::string& name) {
    if (std::ranges::count(known, name) > 0 && std::ranges::count(names, name) == 0)
      names.push_back(name);
  };
  add(model.converted_from);
  for (const auto& name : kUsualFamilies) add(name);
  for (const auto& name : known) add(name);
  std::vector<std::string> reasons;
  for (const auto& name : names) {
    try {
      models::family_of(name)->config(spec);
      return name;
    } catch (const Error& error) {
      const std::string message = error.what();
      reasons.push_back(concat(name, ": ", message.substr(0, message.find('\n'))));
    }
  }
  fail("convert",
       "expected a model that one of the families can describe, got one that none can. Keep it in "
       "the native "
       "form; --family NAME shows all that is in the way.",
       indented_list(reasons));
}

/// Throws ConfigError where `target` is a checkpoint of a run, whose training state would be lost.
void check_target(const std::string& target) {
  const auto folder = std::filesystem::absolute(target + "/").lexically_normal().parent_path();
  std::error_code missing;
  check<ConfigError>(!std::filesystem::exists(folder, missing) ||
                         folder.parent_path().filename() != train::kCheckpointsFolder,
                     "convert", "expected a folder outside of a run, got '", target,
                     "', one of its checkpoints. Name another.");
}

void print_errors(const std::vector<models::LowRankError>& errors) {
  std::cout << "relative error |W - U V| / |W|, mean (worst) over experts\n"
            << std::fixed << std::setprecision(4);
  for (const auto& error : errors) {
    std::cout << error.experts << "  w_in " << error.mean_in << " (" << error.worst_in << ")";
    if (error.worst_out > 0)
      std::cout << "  w_out " << error.mean_out << " (" << error.worst_out << ")";
    std::cout << '\n';
  }
}

/// Whether the command asks for other experts, and not for another form of directory.
bool changes_experts(const ConvertCommand& o) {
  const int64_t asked = (o.low_rank != 0) + o.merge + o.adapters + !o.add_adapters.empty();
  check<ConfigError>(asked <= 1, "convert",
                     "expected one of --low-rank, --merge, --adapters and --add-adapters, got ",
                     asked, ". Convert in two steps.");
  check<ConfigError>(!o.whole_out || o.low_rank != 0, "--whole-out",
                     "expected it beside --low-rank. Leave it out.");
  check<ConfigError>(asked == 0 || (o.family.empty() && o.to != "huggingface"), "convert",
                     "expected a native DST for other experts, got --to huggingface or --family. "
                     "Leave them out, and convert the result in a second step.");
  return asked > 0;
}

/// Writes `model` with other experts, or its adapters.
void convert_experts(models::LoadedModel model, const ConvertCommand& o) {
  if (o.adapters) return models::save_adapters(model, o.target);
  if (o.merge) return models::save_native(models::merge_adapters(model), o.target);
  if (!o.add_adapters.empty()) {
    models::load_adapters(model, o.add_adapters, !o.no_verify);
    return models::save_native(model, o.target);
  }
  const auto low = models::to_low_rank(model, o.low_rank, !o.whole_out);
  models::save_native(low.model, o.target);
  print_errors(low.errors);
}

int run_convert(const ConvertCommand& o) {
  check_target(o.target);
  check<ConfigError>(o.quantize.empty(), "--quantize", "expected no quantisation, got '",
                     o.quantize, "', which is not there yet. Leave the option out.");
  if (!o.to.empty()) check_one_of("convert", "--to", o.to, {"huggingface", "native"});
  if (!o.family.empty()) models::families().at(o.family);
  use_threads(o.threads);
  models::LoadOptions options;
  options.dtype = o.dtype.empty() ? models::stored_type(o.source) : parse_dtype(o.dtype);
  options.verify = !o.no_verify;
  options.read_sources = o.read_sources;
  const bool other_experts = changes_experts(o);
  const auto model = models::load(o.source, options);
  if (other_experts) {
    convert_experts(model, o);
    std::cout << o.target << '\n' << source_line(model);
    return 0;
  }
  const std::string to = !o.to.empty() ? o.to : model.family.empty() ? "huggingface" : "native";
  check<ConfigError>(o.family.empty() || to == "huggingface", "--family",
                     "expected a family beside --to huggingface only, got '", o.family,
                     "'. Leave it out.");
  const std::string family =
      to == "native" || !model.family.empty() || !o.family.empty() ? o.family : family_for(model);
  InterruptibleFiles files;
  catch_stop_signals();
  try {
    if (to == "native")
      models::save_native(model, o.target, files);
    else
      models::save_hugging_face(model, o.target, family, files);
  } catch (const Interrupted& by) {
    log::info(concat("stopped by signal ", by.signal, "; nothing is written to ", o.target, '.'));
    return exit_status_of(by.signal);
  }
  const bool bytes = model.tokenizer && model.tokenizer->is_bytes();
  if (to == "huggingface" && model.family.empty() && bytes)
    log::warn("no tokenizer.json is written: its tokens are bytes.");
  std::cout << o.target << '\n' << source_line(model);
  return 0;
}

void setup_convert(CLI::App& app, ConvertCommand& o) {
  app.add_option("SRC", o.source,
                 "a run (its newest checkpoint), a checkpoint or a Hugging Face directory")
      ->required()
      ->type_name("DIR");
  app.add_option("DST", o.target,
                 "the folder to write: new or empty, or a converted model to replace")
      ->required()
      ->type_name("DIR");
  app.add_option("--to", o.to, "huggingface or native; default: the other form than SRC's")
      ->type_name("FORM");
  app.add_option("--family", o.family,
                 "the family to write a model of our own as (`moe inspect --list family`); "
                 "default: that of the directory it comes from, or the first that can describe it")
      ->type_name("NAME");
  app.add_option("--low-rank", o.low_rank,
                 "write experts of the kind gated or ffn as low_rank ones of this rank (singular "
                 "value decomposition), and print how far they are off")
      ->type_name("RANK");
  app.add_flag("--whole-out", o.whole_out, "with --low-rank: leave w_out as it is");
  app.add_flag("--merge", o.merge, "write lora experts as whole ones that compute the same");
  app.add_flag("--adapters", o.adapters,
               "write the adapters and routers of lora experts alone, without what they adapt");
  app.add_option("--add-adapters", o.add_adapters,
                 "put the adapters of this folder (of --adapters) into SRC, of the same "
                 "configuration")
      ->type_name("DIR");
  app.add_option("--dtype", o.dtype, "float32, bfloat16 or float64; default: as SRC stores it")
      ->type_name("TYPE");
  app.add_option("--quantize", o.quantize, "int8 or int4 (not there yet)")->type_name("FORMAT");
  add_threads(app, o.threads);
  add_no_verify(app, o.no_verify);
  app.add_flag(
      "--read-sources", o.read_sources,
      "of a checkpoint of an older version: make what it lacks (the table of a hash router, "
      "a recording) from the files that its configuration names");
}

}  // namespace

void add_convert(CLI::App& program, Session& session) {
  add_command<ConvertCommand>(
      program, session,
      {"convert",
       "A model in another form: Hugging Face directory or checkpoint, another type of numbers.",
       "moe convert out/demo/moe out/demo/half --to native --dtype bfloat16   # after make demo",
       setup_convert, run_convert});
}

}  // namespace moe::tools
