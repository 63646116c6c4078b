// moe inspect: what models are and cost, without allocating them.

#include <iostream>
#include <optional>

#include <moe/base/files.h>
#include <moe/config/toml.h>
#include <moe/models/configured.h>
#include <moe/models/hugging_face.h>
#include <moe/models/zoo.h>
#include <moe/train/options.h>
#include <moe/train/run.h>

#include "tools/moe/inspect_facts.h"
#include "tools/moe/inspect_list.h"
#include "tools/moe/model_argument.h"

namespace moe::tools {

namespace {

/// Dense models that people compare with, behind a table of several.
const std::vector<std::string> kComparators = {"gpt-3-175b", "llama-2-70b", "t5-xxl", "vit-h-14"};

struct InspectOptions {
  std::vector<std::string> targets;
  std::string list, like;
  bool listing = false;
  bool json = false;
  std::string dtype = "float32";
  std::vector<std::string> settings;
  bool no_verify = false;
};

/// The configuration that `target` stands for: a TOML file's, or that of a model's folder, whose
/// files have been looked at already.
Table configuration(const std::string& target) {
  auto& files = real_files();
  const bool toml = target.size() > 5 && target.compare(target.size() - 5, 5, ".toml") == 0;
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored))
    return models::load_config(target, /*verify=*/false);
  if (toml || files.exists(target)) return config::read_toml(target);
  std::vector<std::string> names;
  for (const auto& known : models::known_models()) names.push_back(known.name);
  fail<ConfigError>("inspect",
                    "expected a model folder, a CONFIG.toml or the name of a published model "
                    "(moe inspect --list model), got '",
                    target, "', which is neither file nor folder nor such a name. Check it.",
                    did_you_mean(target, names));
}

Subject published(const std::string& name, const std::vector<std::string>& settings) {
  const auto known = models::known_model(name);
  Subject out{name,
              known.family.empty() ? known.spec.architecture : known.family,
              known.spec,
              {},
              known.published,
              known.note};
  if (settings.empty()) return out;
  Table table;
  table.set("model", write_fields(out.spec));
  apply_settings(table, settings);
  out.spec = {};
  read_fields(out.spec, *table.find("model")->as<Table>(), "model");
  return out;
}

Subject subject_of(const std::string& target, const InspectOptions& o) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(target, ignored);
  if (!folder && !real_files().exists(target) && models::is_known_model(target))
    return published(target, o.settings);
  const bool foreign = folder && models::is_foreign(target);
  Subject out;
  out.name = target;
  if (folder && !foreign) out.checkpoint = models::open_checkpoint(target, !o.no_verify);
  Table table = configuration(out.checkpoint ? out.checkpoint->folder.string() : target);
  apply_settings(table, o.settings);
  if (!folder) table = train::with_model_of_init(std::move(table));
  const Value* section = table.find("model");
  check<ConfigError>(section && section->as<Table>(), "inspect", "expected a [model] section in '",
                     target, "', found none. Name the configuration of a run.");
  if (table.find("data")) {  // a run's configuration: refuse whatever training would refuse
    train::RunOptions run;
    read_fields(run, table, "");
    out.spec = run.model;
  } else {
    read_fields(out.spec, *section->as<Table>(), "model");
  }
  out.family = foreign ? models::HfConfig::read(target).text("model_type") : out.spec.architecture;
  return out;
}

Json facts_in(const std::string& target, const InspectOptions& o) {
  const Subject subject = subject_of(target, o);
  const bool foreign = models::is_foreign(target);
  const auto make = [&] { return facts_of(subject, o.dtype); };
  return foreign ? models::configured((Path(target) / models::kHfConfigName).string(), make)
                 : make();
}

/// A table of the models, and behind it those that everybody compares with.
void compare(const InspectOptions& o) {
  std::vector<Json> asked, beside;
  const auto add = [](std::vector<Json>& facts, Json found, const std::string& name) {
    facts.push_back(std::move(found));
    facts.back()["name"] = name;
  };
  for (const auto& target : o.targets) add(asked, facts_in(target, o), target);
  for (const auto& name : kComparators)
    if (std::ranges::find(o.targets, name) == o.targets.end() && models::is_known_model(name))
      add(beside, facts_of(published(name, {}), o.dtype), name);
  if (o.json) return print_json({{"models", asked}, {"comparators", beside}});
  asked.insert(asked.end(), beside.begin(), beside.end());
  print_models(asked, o.dtype);
}

int inspect(const InspectOptions& o) {
  if (o.listing) {
    for (const auto* beside : {&o.targets, &o.settings})
      check<ConfigError>(beside->empty(), "inspect",
                         "expected no model and no --set beside --list, got '",
                         beside->empty() ? "" : beside->front(), "'. Leave it out.");
    if (o.like.empty()) {
      list_kinds(o.list, o.json);
      return 0;
    }
    check<ConfigError>(o.list.empty() || o.list == "router", "inspect",
                       "expected --like with --list router, got --list ", o.list,
                       ". A published model's recipe is one for routers, with what belongs to it.");
    print_recipe(o.like, o.json);
    return 0;
  }
  check<ConfigError>(o.like.empty(), "inspect",
                     "expected --list router beside --like, got none. "
                     "Add it: moe inspect --list router --like ",
                     o.like, ".");
  check<ConfigError>(!o.targets.empty(), "inspect",
                     "expected a model, a CONFIG.toml or --list, got nothing. Name one.");
  if (o.targets.size() > 1) {
    compare(o);
    return 0;
  }
  const Json found = facts_in(o.targets.front(), o);
  o.json ? print_json(found) : print_facts(found, o.dtype);
  return 0;
}

void setup_inspect(CLI::App& app, InspectOptions& o) {
  app.add_option("MODEL", o.targets,
                 "a run, a checkpoint, a Hugging Face directory, the CONFIG.toml of a run, or a "
                 "published model by name (--list model); several: a table of them")
      ->type_name("DIR|FILE.toml|NAME ...");
  app.add_option_function<std::vector<std::string>>(
         "--list",
         [&o](const std::vector<std::string>& kind) {
           o.listing = true;
           o.list = kind.empty() ? "" : kind.front();
         },
         "list what is registered: router, balance, expert, dispatcher, mixer, feed_forward, "
         "objective, optimizer, architecture or family; model: published models by name; section: "
         "the settings of [data] and [train]; default: all")
      ->expected(0, 1)
      ->type_name("[KIND]");
  app.add_option("--like", o.like,
                 "with --list router: what a published model (--list model) uses, as a block for "
                 "a configuration")
      ->type_name("NAME");
  add_dtype(app, o.dtype);
  add_set(app, o.settings);
  add_no_verify(app, o.no_verify);
  add_json(app, o.json);
}

}  // namespace

void add_inspect(CLI::App& program, Session& session) {
  add_command<InspectOptions>(
      program, session,
      {"inspect", "What models are and cost, and what kinds there are.",
       "moe inspect mixtral-8x7b && moe inspect configs/demo.toml && moe inspect --list router",
       setup_inspect, inspect});
}

}  // namespace moe::tools
