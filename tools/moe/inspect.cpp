// moe inspect: what a model is and costs, without allocating it.

#include <iostream>

#include <moe/balance/term.h>
#include <moe/base/files.h>
#include <moe/config/toml.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/experts/experts.h>
#include <moe/models/counts.h>
#include <moe/models/load.h>
#include <moe/routing/router.h>
#include <moe/train/options.h>

#include "tools/moe/common.h"

namespace moe::tools {

namespace {

struct InspectOptions {
  std::string target;
  std::string list;
  bool listing = false;
  bool json = false;
  std::string dtype = "float32";
  std::vector<std::string> settings;
};

/// One registered kind.
struct ListedKind {
  std::string name, help;
  std::vector<FieldInfo> options;
};

struct ListedFamily {
  std::string name;
  std::vector<ListedKind> kinds;
};

template <class Interface, class Shape>
ListedFamily listed(const std::string& name, const Registry<Interface, Shape>& registry) {
  ListedFamily out{name, {}};
  for (const auto& kind : registry.names()) {
    const auto entry = registry.at(kind);
    out.kinds.push_back({kind, entry.help, entry.fields()});
  }
  return out;
}

/// The registries, or the one called `only`.
std::vector<ListedFamily> all_kinds(const std::string& only) {
  std::vector<ListedFamily> families = {
      listed("router", routing::routers()), listed("balance", balance::terms()),
      listed("expert", experts::expert_kinds()), listed("dispatcher", dispatch::dispatchers()),
      listed("model", models::families())};
  if (only.empty()) return families;
  std::vector<std::string> names;
  for (auto& family : families) {
    if (family.name == only) return {std::move(family)};
    names.push_back(family.name);
  }
  check_one_of("inspect", "KIND of --list", only, names);
  return {};
}

Json listing_json(const std::vector<ListedFamily>& families) {
  Json out = Json::object();
  for (const auto& family : families) {
    auto& kinds = out[family.name] = Json::array();
    for (const auto& kind : family.kinds) {
      Json options = Json::array();
      for (const auto& o : kind.options)
        options.push_back(
            {{"name", o.name}, {"type", o.type}, {"default", o.value}, {"help", o.help}});
      kinds.push_back({{"name", kind.name}, {"help", kind.help}, {"options", std::move(options)}});
    }
  }
  return out;
}

void print_listing(const std::vector<ListedFamily>& families) {
  for (const auto& family : families) {
    std::cout << family.name << '\n';
    for (const auto& kind : family.kinds) {
      std::cout << "  " << kind.name << ": " << kind.help << '\n';
      for (const auto& o : kind.options) {
        std::cout << "      " << o.name;
        if (!o.value.empty()) std::cout << " = " << o.value;
        std::cout << "  (" << o.type << ") " << o.help << '\n';
      }
    }
  }
}

/// The configuration that `target` stands for: a TOML file's, or that of a run or checkpoint.
Table configuration(const std::string& target) {
  auto& files = real_files();
  const bool toml = target.size() > 5 && target.compare(target.size() - 5, 5, ".toml") == 0;
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored)) return models::load_config(target);
  if (toml || files.exists(target)) return config::read_toml(target);
  fail<ConfigError>("inspect",
                    "expected a model folder, a CONFIG.toml or the name of a known model, "
                    "got '",
                    target,
                    "', which is neither file nor folder; no public model names are "
                    "known to this version. Check the path.");
}

struct Subject {
  std::string family;
  models::ModelOptions options;
};

Subject subject_of(const InspectOptions& o) {
  Table table = configuration(o.target);
  apply_settings(table, o.settings);
  const Value* section = table.find("model");
  check<ConfigError>(section && section->as<Table>(), "inspect", "expected a [model] section in '",
                     o.target, "', found none. Name the configuration of a run.");
  models::ModelSpec spec;
  if (table.find("data")) {  // a run's configuration: refuse whatever training would refuse
    train::RunOptions run;
    read_fields(run, table, "");
    spec = run.model;
  } else {
    read_fields(spec, *section->as<Table>(), "model");
  }
  check<ConfigError>(spec.family == "decoder", "inspect", "expected the family decoder, got '",
                     spec.family,
                     "', whose parameters are not counted from its options. Name another.");
  Subject subject{spec.family, {}};
  read_fields(subject.options, spec.options, "model");
  return subject;
}

Json facts(const Subject& subject, at::ScalarType dtype) {
  const auto counts = models::count(subject.options);
  const auto width = static_cast<int64_t>(c10::elementSize(dtype));
  Json out;
  out["family"] = subject.family;
  out["parameters"] = {{"total", counts.total},
                       {"active", counts.active},
                       {"active_without_input_embedding", counts.active_without_input_embedding},
                       {"active_without_embeddings", counts.active_without_embeddings}};
  out["flops_per_token"] = counts.flops_per_token;
  out["context_length"] = subject.options.context_length;
  out["memory_bytes"] = {{"parameters", counts.total * width},
                         {"kv_cache", counts.kv_cache_bytes / 4 * width},
                         {"gradients", counts.total * 4},
                         {"optimizer", counts.total * 8}};
  return out;
}

void print_facts(const Json& f, const std::string& dtype) {
  const auto row = [](const std::string& name, const Json& value, const std::string& note) {
    std::cout << "  " << name << std::string(32 - std::min<size_t>(31, name.size()), ' ')
              << grouped(value.get<int64_t>()) << note << '\n';
  };
  std::cout << "family " << f["family"].get<std::string>() << "\nparameters\n";
  for (const auto& [name, value] : f["parameters"].items()) row(name, value, "");
  std::cout << "one token\n";
  row("flops_per_token", f["flops_per_token"],
      "  (forward, attention over " + std::to_string(f["context_length"].get<int64_t>()) +
          " tokens)");
  row("context_length", f["context_length"], "");
  std::cout << "memory in bytes\n";
  const auto& memory = f["memory_bytes"];
  row("parameters", memory["parameters"], "  (" + dtype + ")");
  row("kv_cache", memory["kv_cache"], "  (" + dtype + ", one full sequence)");
  row("gradients", memory["gradients"], "  (training, float32)");
  row("optimizer", memory["optimizer"], "  (training, AdamW moments in float32)");
}

int inspect(const InspectOptions& o) {
  if (o.listing) {
    check<ConfigError>(o.target.empty() && o.settings.empty(), "inspect",
                       "expected no model and no --set beside --list, got '",
                       o.target.empty() ? o.settings.front() : o.target, "'. Leave it out.");
    const auto families = all_kinds(o.list);
    o.json ? print_json(listing_json(families)) : print_listing(families);
    return 0;
  }
  check<ConfigError>(!o.target.empty(), "inspect",
                     "expected a model, a CONFIG.toml or --list, got nothing. Name one.");
  const Json found = facts(subject_of(o), parse_dtype(o.dtype));
  o.json ? print_json(found) : print_facts(found, o.dtype);
  return 0;
}

void setup_inspect(CLI::App& app, InspectOptions& o) {
  app.add_option("MODEL", o.target, "a run, a checkpoint, or the CONFIG.toml of a run")
      ->type_name("DIR|FILE.toml");
  app.add_option_function<std::vector<std::string>>(
         "--list",
         [&o](const std::vector<std::string>& kind) {
           o.listing = true;
           o.list = kind.empty() ? "" : kind.front();
         },
         "list what is registered: router, balance, expert, dispatcher or model; default: all")
      ->expected(0, 1)
      ->type_name("[KIND]");
  add_dtype(app, o.dtype);
  add_set(app, o.settings);
  add_json(app, o.json);
}

}  // namespace

void add_inspect(CLI::App& program, Session& session) {
  add_command<InspectOptions>(
      program, session,
      {"inspect", "What a model is and costs, and what kinds there are.",
       "moe inspect configs/demo.toml && moe inspect --list router", setup_inspect, inspect});
}

}  // namespace moe::tools
