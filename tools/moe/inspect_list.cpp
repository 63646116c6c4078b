// What is registered: moe inspect --list.

#include "tools/moe/inspect_list.h"

#include <iostream>

#include <moe/balance/term.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/experts/experts.h>
#include <moe/models/family.h>
#include <moe/models/zoo.h>
#include <moe/objectives/objective.h>
#include <moe/routing/router.h>
#include <moe/study/recipe.h>
#include <moe/train/optimizer.h>
#include <moe/train/options.h>

namespace moe::tools {

namespace {

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
           {"train", "how it trains", describe_fields<train::TrainOptions>()},
           {"parallel", "on which ranks", describe_fields<parallel::ParallelOptions>()}}};
}

/// Models by name, which `moe inspect NAME` describes.
ListedRegistry zoo() {
  ListedRegistry out{"model", {}};
  for (const auto& known : models::known_models())
    out.kinds.push_back({known.name, concat(known.title, ": ", known.published), {}});
  return out;
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
                                            zoo(),
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

}  // namespace

void list_kinds(const std::string& only, bool json) {
  const auto registries = all_kinds(only);
  json ? print_json(listing_json(registries)) : print_listing(registries);
}

void print_recipe(const std::string& model, bool json) {
  const auto recipe = study::recipe(model);
  if (!json) {
    std::cout << study::write_recipe(recipe);
    return;
  }
  const auto row = study::recipe_row(recipe);
  print_json({{"name", recipe.name},
              {"title", recipe.title},
              {"router", row.router},
              {"experts", row.experts},
              {"expert", row.expert},
              {"shared", row.shared},
              {"balance", row.balance},
              {"balance_source", recipe.balance_source},
              {"blocks", recipe.blocks},
              {"moe_blocks", recipe.moe_blocks},
              {"toml", study::write_recipe(recipe)}});
}

}  // namespace moe::tools
