#include <algorithm>
#include <iterator>
#include <sstream>

#include <moe/base/error.h>
#include <moe/config/toml.h>
#include <moe/models/family.h>
#include <moe/models/zoo.h>
#include <moe/models/zoo_files.h>

namespace moe::models {

namespace {

/// One file of zoo/.
struct ZooEntry {
  KnownModel model;
  /// Its config.json, or instead of it a [model] table of ours.
  Table config, native;
  /// Its [training].
  Table training = {};
};

/// The blocks that "moe", "12 dense", "3 dense moe" (six blocks), … stand for: tables [block.NAME].
Array blocks_of(const Array& runs, const Table& named) {
  Array out;
  for (const Value& run : runs) {
    std::istringstream text(*run.as<std::string>());
    int64_t times = 0;
    if (!(text >> times)) {
      times = 1;
      text.clear();
    }
    const std::vector<std::string> words{std::istream_iterator<std::string>(text), {}};
    for (; times > 0; --times)
      for (const auto& word : words) {
        const Value* block = named.find(word);
        check<ConfigError>(block != nullptr, "models/zoo", "expected a table [block.", word,
                           "], found none.");
        out.push_back(*block);
      }
  }
  return out;
}

ZooEntry read_entry(std::string_view name) {
  const auto files = zoo_files();
  const auto file = std::ranges::find(files, name, &ZooFile::name);
  check<ConfigError>(file != files.end(), "models/zoo", "expected a known model, got '", name,
                     "'.");
  const Table table = config::parse_toml(file->text, concat("zoo/", name, ".toml"));
  const auto text = [&](const char* key) {
    const Value* found = table.find(key);
    return found ? *found->as<std::string>() : std::string();
  };
  ZooEntry out{{std::string(name), text("title"), text("published"), text("note")}, {}, {}, {}};
  if (const Value* native = table.find("model")) out.native = *native->as<Table>();
  if (const Value* stacks = table.find("stacks"))
    for (const auto& [stack, runs] : *stacks->as<Table>())
      out.native.set(stack, blocks_of(*runs.as<Array>(), *table.find("block")->as<Table>()));
  // The [config] of another model, changed.
  if (const auto like = text("like"); !like.empty()) out.config = read_entry(like).config;
  if (const Value* training = table.find("training")) out.training = *training->as<Table>();
  if (const Value* config = table.find("config"))
    for (const auto& [key, value] : *config->as<Table>()) out.config.set(key, value);
  return out;
}

}  // namespace

std::vector<KnownModel> known_models() {
  std::vector<KnownModel> out;
  for (const auto& file : zoo_files()) out.push_back(read_entry(file.name).model);
  return out;
}

bool is_known_model(const std::string& name) {
  return std::ranges::count(zoo_files(), name, &ZooFile::name) > 0;
}

KnownModelSpec known_model(const std::string& name) {
  if (!is_known_model(name)) {
    std::vector<std::string> names;
    for (const auto& file : zoo_files()) names.emplace_back(file.name);
    check_one_of("models/zoo", "a model by name", name, names);
  }
  const ZooEntry entry = read_entry(name);
  KnownModelSpec out{entry.model, "", {}, entry.training};
  if (!entry.native.empty()) {
    read_fields(out.spec, entry.native, "model");
    return out;
  }
  const HfConfig config(entry.config, concat("zoo/", name, ".toml"));
  out.family = config.text("model_type");
  out.spec = family_of(config)->options(config);
  return out;
}

}  // namespace moe::models
