// moe inspect: what a model is and costs, without allocating it.

#include <iostream>
#include <optional>

#include <moe/balance/term.h>
#include <moe/base/files.h>
#include <moe/config/toml.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/experts/experts.h>
#include <moe/models/counts.h>
#include <moe/models/family.h>
#include <moe/models/hugging_face.h>
#include <moe/models/load.h>
#include <moe/objectives/objective.h>
#include <moe/routing/router.h>
#include <moe/train/optimizer.h>
#include <moe/train/options.h>

#include "tools/moe/model_argument.h"

namespace moe::tools {

namespace {

struct InspectOptions {
  std::string target;
  std::string list;
  bool listing = false;
  bool json = false;
  std::string dtype = "float32";
  std::vector<std::string> settings;
  bool no_verify = false;
};

/// One registered kind.
struct ListedKind {
  std::string name, help;
  std::vector<FieldInfo> options;
};

struct ListedRegistry {
  std::string name;
  std::vector<ListedKind> kinds;
};

template <class Interface, class Shape>
ListedRegistry listed(const Registry<Interface, Shape>& registry) {
  ListedRegistry out{registry.list_name(), {}};
  for (const auto& kind : registry.names()) {
    const auto entry = registry.at(kind);
    out.kinds.push_back({kind, entry.help, entry.fields()});
  }
  return out;
}

/// The tables of a configuration beside [model], whose keys are those of its architecture.
ListedRegistry sections() {
  return {"section",
          {{"data", "what a run reads", describe_fields<data::DataOptions>()},
           {"train", "how it trains", describe_fields<train::TrainOptions>()}}};
}

/// The registries, or the one called `only`.
std::vector<ListedRegistry> all_kinds(const std::string& only) {
  std::vector<ListedRegistry> registries = {listed(routing::routers()),
                                            listed(balance::terms()),
                                            listed(experts::expert_kinds()),
                                            listed(dispatch::dispatchers()),
                                            listed(layers::mixers()),
                                            listed(layers::feed_forwards()),
                                            listed(objectives::objectives()),
                                            listed(train::optimizers()),
                                            listed(models::architectures()),
                                            listed(models::families()),
                                            sections()};
  if (only.empty()) return registries;
  std::vector<std::string> names;
  for (auto& registry : registries) {
    if (registry.name == only) return {std::move(registry)};
    names.push_back(registry.name);
  }
  check_one_of("inspect", "KIND of --list", only, names);
  return {};
}

Json listing_json(const std::vector<ListedRegistry>& registries) {
  Json out = Json::object();
  for (const auto& registry : registries) {
    auto& kinds = out[registry.name] = Json::array();
    for (const auto& kind : registry.kinds) {
      Json options = Json::array();
      for (const auto& o : kind.options)
        options.push_back(
            {{"name", o.name}, {"type", o.type}, {"default", o.value}, {"help", o.help}});
      kinds.push_back({{"name", kind.name}, {"help", kind.help}, {"options", std::move(options)}});
    }
  }
  return out;
}

void print_listing(const std::vector<ListedRegistry>& registries) {
  for (const auto& registry : registries) {
    std::cout << registry.name << '\n';
    for (const auto& kind : registry.kinds) {
      std::cout << "  " << kind.name << ": " << kind.help << '\n';
      for (const auto& o : kind.options) {
        std::cout << "      " << o.name;
        if (!o.value.empty()) std::cout << " = " << o.value;
        std::cout << "  (" << o.type << ") " << o.help << '\n';
      }
    }
  }
}

/// The configuration that `target` stands for: a TOML file's, or that of a model's folder, whose
/// files have been looked at already.
Table configuration(const std::string& target) {
  auto& files = real_files();
  const bool toml = target.size() > 5 && target.compare(target.size() - 5, 5, ".toml") == 0;
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored))
    return models::load_config(target, /*verify=*/false);
  if (toml || files.exists(target)) return config::read_toml(target);
  fail<ConfigError>("inspect", "expected a model folder or a CONFIG.toml, got '", target,
                    "', which is neither file nor folder. Check the path.");
}

struct Subject {
  /// Of another program's model its family, of ours the architecture.
  std::string family;
  models::ModelSpec spec;
  /// Where it is one of ours.
  std::optional<models::OpenedCheckpoint> checkpoint = {};
};

Subject subject_of(const InspectOptions& o) {
  std::error_code ignored;
  const bool folder = std::filesystem::is_directory(o.target, ignored);
  const bool foreign = folder && models::is_foreign(o.target);
  Subject out;
  if (folder && !foreign) out.checkpoint = models::open_checkpoint(o.target, !o.no_verify);
  Table table = configuration(out.checkpoint ? out.checkpoint->folder.string() : o.target);
  apply_settings(table, o.settings);
  const Value* section = table.find("model");
  check<ConfigError>(section && section->as<Table>(), "inspect", "expected a [model] section in '",
                     o.target, "', found none. Name the configuration of a run.");
  if (table.find("data")) {  // a run's configuration: refuse whatever training would refuse
    train::RunOptions run;
    read_fields(run, table, "");
    out.spec = run.model;
  } else {
    read_fields(out.spec, *section->as<Table>(), "model");
  }
  out.family =
      foreign ? models::HfConfig::read(o.target).text("model_type") : out.spec.architecture;
  return out;
}

Json facts(const Subject& subject, at::ScalarType dtype) {
  const auto model = models::make_model(subject.spec);
  const auto counts = models::count(*model);
  const auto width = static_cast<int64_t>(c10::elementSize(dtype));
  Json out;
  out["family"] = subject.family;
  out["architecture"] = subject.spec.architecture;
  if (subject.checkpoint) add_source(out, *subject.checkpoint);
  out["parameters"] = {{"total", counts.total},
                       {"active", counts.active},
                       {"active_without_input_embedding", counts.active_without_input_embedding},
                       {"active_without_embeddings", counts.active_without_embeddings}};
  out["flops_per_token"] = counts.flops_per_token;
  out["context_length"] = model->traits().context_length;
  out["memory_bytes"] = {{"parameters", counts.total * width},
                         {"kv_cache", counts.state_numbers * width},
                         {"gradients", counts.total * 4},
                         {"optimizer", counts.total * 8}};
  if (!model->traits().causal) out["memory_bytes"].erase("kv_cache");
  return out;
}

void print_facts(const Json& f, const std::string& dtype) {
  const auto row = [](const std::string& name, const Json& value, const std::string& note) {
    std::cout << "  " << name << std::string(32 - std::min<size_t>(31, name.size()), ' ')
              << grouped(value.get<int64_t>()) << note << '\n';
  };
  const auto family = f["family"].get<std::string>(),
             architecture = f["architecture"].get<std::string>();
  if (family != architecture) std::cout << "family " << family << '\n';
  std::cout << "architecture " << architecture << '\n';
  if (f.contains("step") && !f["step"].is_null())
    std::cout << "step " << grouped(f["step"].get<int64_t>()) << " of "
              << f["checkpoint"].get<std::string>() << '\n';
  std::cout << "parameters\n";
  for (const auto& [name, value] : f["parameters"].items()) row(name, value, "");
  std::cout << "one token\n";
  row("flops_per_token", f["flops_per_token"],
      "  (forward, attention over " + std::to_string(f["context_length"].get<int64_t>()) +
          " tokens)");
  row("context_length", f["context_length"], "");
  std::cout << "memory in bytes\n";
  const auto& memory = f["memory_bytes"];
  row("parameters", memory["parameters"], "  (" + dtype + ")");
  if (memory.contains("kv_cache"))
    row("kv_cache", memory["kv_cache"], "  (" + dtype + ", one full sequence)");
  row("gradients", memory["gradients"], "  (training, float32)");
  row("optimizer", memory["optimizer"], "  (training, AdamW moments in float32)");
}

int inspect(const InspectOptions& o) {
  if (o.listing) {
    check<ConfigError>(o.target.empty() && o.settings.empty(), "inspect",
                       "expected no model and no --set beside --list, got '",
                       o.target.empty() ? o.settings.front() : o.target, "'. Leave it out.");
    const auto registries = all_kinds(o.list);
    o.json ? print_json(listing_json(registries)) : print_listing(registries);
    return 0;
  }
  check<ConfigError>(!o.target.empty(), "inspect",
                     "expected a model, a CONFIG.toml or --list, got nothing. Name one.");
  const Json found = facts(subject_of(o), parse_dtype(o.dtype));
  o.json ? print_json(found) : print_facts(found, o.dtype);
  return 0;
}

void setup_inspect(CLI::App& app, InspectOptions& o) {
  app.add_option("MODEL", o.target,
                 "a run, a checkpoint, a Hugging Face directory, or the CONFIG.toml of a run")
      ->type_name("DIR|FILE.toml");
  app.add_option_function<std::vector<std::string>>(
         "--list",
         [&o](const std::vector<std::string>& kind) {
           o.listing = true;
           o.list = kind.empty() ? "" : kind.front();
         },
         "list what is registered: router, balance, expert, dispatcher, mixer, feed_forward, "
         "objective, optimizer, architecture or family; section: the settings of [data] and "
         "[train]; default: all")
      ->expected(0, 1)
      ->type_name("[KIND]");
  add_dtype(app, o.dtype);
  add_set(app, o.settings);
  add_no_verify(app, o.no_verify);
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
