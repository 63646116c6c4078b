#include <algorithm>
#include <cstdlib>
#include <set>

#include <moe/checkpoint/manifest.h>
#include <moe/checkpoint/steps.h>
#include <moe/checkpoint/tensors.h>
#include <moe/config/toml.h>
#include <moe/data/tokenizer.h>
#include <moe/formats/safetensors.h>
#include <moe/formats/safetensors_shards.h>
#include <moe/formats/vendor_layouts.h>
#include <moe/models/companions.h>
#include <moe/models/configured.h>
#include <moe/models/hugging_face.h>
#include <moe/models/load.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::models {

namespace {

constexpr uint64_t kLargestConfig = 16u << 20;

/// What to do about a damaged checkpoint of a run that has `others`, newest first.
std::string other_choice(const std::vector<Path>& others) {
  for (const auto& other : others) {
    try {
      checkpoint::check_sizes(other);
      return concat("Name an older one (", other.string(), " has all its files)");
    } catch (const Error&) {
      // Damaged too: the next one.
    }
  }
  return others.empty() ? "Copy it again or use another"
                        : "Mend it: the older ones are damaged too";
}

/// Compares all content with its checksums. An older checkpoint is another model, so none is taken
/// in the place of a damaged one: who wants it names it.
void check_whole(const Path& folder, const std::string& who, const std::vector<Path>& others) {
  const auto damage = checkpoint::damage_in(folder);
  if (!damage.empty())
    fail("models/load", "expected ", who, folder.string(), ", to be whole, found damage. ",
         other_choice(others), ", or take it as it is with --no-verify.", indented_list(damage));
}

/// Why `folder`, which is no run, checkpoint or Hugging Face model, is none, and what to do.
std::string what_is_missing(const Path& folder) {
  auto& files = real_files();
  const auto names = files.list(folder);
  const auto has_ending = [&](const char* ending) {
    return std::ranges::any_of(names, [&](const auto& name) { return name.ends_with(ending); });
  };
  if (names.empty()) return "found an empty folder. Check the path.";
  if (has_ending(".safetensors") || has_ending(".bin"))
    return concat("found weights without ", kHfConfigName, ". Fetch it too.");
  if (files.exists(folder / "config.toml"))
    return "found a run without a checkpoint. Wait for its first (train.checkpoint_every), or "
           "start the run again.";
  return "found none of them. Check the path.";
}

/// The checkpoint folder that `path` means.
Path find_checkpoint(const Path& path, bool verify) {
  auto& files = real_files();
  std::error_code ignored;
  check<ConfigError>(std::filesystem::is_directory(path, ignored), "models/load",
                     "expected a folder with a model, found none at '", path.string(),
                     "'. Check the path.");
  if (files.exists(path / checkpoint::kManifestName)) {
    if (verify) check_whole(path, "the checkpoint, ", {});
    return path;
  }
  if (auto steps = checkpoint::step_folders(path / "checkpoints"); !steps.empty()) {
    const Path newest = steps.front();
    steps.erase(steps.begin());
    if (verify) check_whole(newest, "the newest checkpoint of the run, ", steps);
    return newest;
  }
  std::vector<std::string> runs;
  for (const auto& name : files.list(path))
    if (files.exists(path / name / "checkpoints")) runs.push_back((path / name).string());
  check<ConfigError>(runs.empty(), "models/load", "expected one run, found several in ",
                     path.string(), ". Name one of them.", indented_list(runs));
  if (const auto layout = formats::vendor_layout_in(path))
    fail("models/load", "expected a Hugging Face model (with config.json and *.safetensors) in '",
         path.string(), "', found ", layout->found, ". ", layout->remedy);
  fail<ConfigError>(
      "models/load",
      "expected a run (with checkpoints/), a checkpoint (with manifest.json) or a Hugging Face "
      "model (with config.json) in ",
      path.string(), ", ", what_is_missing(path));
}

std::optional<int64_t> step_in(const checkpoint::Manifest& manifest) {
  const auto found = manifest.metadata.find("step");
  if (found == manifest.metadata.end()) return std::nullopt;
  return std::strtoll(found->second.c_str(), nullptr, 10);
}

/// Before the model has memory.
void use_top_k(Model& model, int64_t top_k) {
  bool routes = false;
  for (const auto& block : model.blocks()) {
    routes |= block->routes();
    block->feed_forward().use_top_k(top_k);
  }
  check<ConfigError>(routes, "models/load", "expected a model with MoE layers for top_k=", top_k,
                     ", got a dense one. Leave top_k out.");
}

/// Whether `path` is a run or a checkpoint.
bool is_ours(const Path& path) {
  auto& files = real_files();
  return files.exists(path / checkpoint::kManifestName) || files.exists(path / "checkpoints");
}

/// The configuration that a model of `spec` has here.
Table config_for(const ModelSpec& spec) {
  Table out;
  out.set("model", write_fields(spec));
  return out;
}

Table config_of(const Path& checkpoint) {
  const Path path = checkpoint / "config.toml";
  return config::parse_toml(read_file(real_files(), path, kLargestConfig), path.string());
}

const Table& section(const Table& config, const char* name) {
  const Value* value = config.find(name);
  const Table* table = value ? value->as<Table>() : nullptr;
  check(table, "models/load", "expected a [", name,
        "] section in the checkpoint's config.toml, found none. The checkpoint is damaged.");
  return *table;
}

/// A checkpoint holds its tokenizer, whatever path the run read it from; null for a converted model
/// without one.
std::shared_ptr<const data::Tokenizer> tokenizer_of(const Path& checkpoint, const Table& config) {
  const Path file = checkpoint / data::kTokenizerFile;
  if (real_files().exists(file)) return data::read_tokenizer(file);
  if (!config.find("data")) {  // written without a run, which names a tokenizer that has no file
    const Value* const name = config.find("tokenizer");
    const auto* const text = name ? name->as<std::string>() : nullptr;
    return text ? data::make_tokenizer(*text) : nullptr;
  }
  const Value* kind = section(config, "data").find("tokenizer");
  const auto* name = kind ? kind->as<std::string>() : nullptr;
  check(!name || *name == "byte", "models/load", "expected ", data::kTokenizerFile, " in '",
        checkpoint.string(), "', found none; the run's tokenizer was '", name ? *name : "",
        "'. The checkpoint is damaged: use another.");
  return data::make_tokenizer("byte");
}

constexpr const char* kSentencePieceFile = "tokenizer.model";
constexpr const char* kTokenizerFiles[] = {data::kTokenizerFile, kSentencePieceFile,
                                           "spiece.model",    // T5's name
                                           "tiktoken.model",  // Kimi's
                                           "qwen.tiktoken"};

/// The tokenizer of a folder of another program; null where it has none.
std::shared_ptr<const data::Tokenizer> foreign_tokenizer(const Path& folder) {
  const Path file = tokenizer_file_in(folder);
  return file.empty() ? nullptr : data::read_tokenizer(file);
}

}  // namespace

std::filesystem::path tokenizer_file_in(const std::filesystem::path& folder) {
  for (const char* name : kTokenizerFiles)
    if (real_files().exists(folder / name)) return folder / name;
  return {};
}

bool is_foreign(const std::filesystem::path& path) {
  return is_hugging_face(path) && !is_ours(path);
}

ModelSpec LoadedModel::spec() const {
  ModelSpec out;
  read_fields(out, section(config, "model"), "model");
  return out;
}

OpenedCheckpoint open_checkpoint(const std::filesystem::path& path, bool verify) {
  OpenedCheckpoint out;
  out.folder = find_checkpoint(path, verify);
  out.step = step_in(checkpoint::read_manifest(out.folder));
  out.converted_from = read_origin(out.folder).family;
  return out;
}

Table load_config(const std::filesystem::path& path, bool verify) {
  if (is_foreign(path)) return config_for(read_hugging_face(path).spec);
  return config_of(find_checkpoint(path, verify));
}

std::shared_ptr<const data::Tokenizer> load_tokenizer(const std::filesystem::path& path,
                                                      bool verify) {
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) return data::read_tokenizer(path);
  check<ConfigError>(std::filesystem::is_directory(path, error), "models/load",
                     "expected a tokenizer.json, a run or a checkpoint, found none at '",
                     path.string(), "'. Check the path.");
  if (is_foreign(path) || (!tokenizer_file_in(path).empty() && !is_ours(path))) {
    const auto found = foreign_tokenizer(path);
    check(found != nullptr, "models/load", "expected ", data::kTokenizerFile, " or ",
          kSentencePieceFile, " in '", path.string(), "', found none. Fetch it.");
    return found;
  }
  const Path checkpoint = find_checkpoint(path, verify);
  auto out = tokenizer_of(checkpoint, config_of(checkpoint));
  check(out != nullptr, "models/load", "expected ", data::kTokenizerFile, " in '",
        checkpoint.string(),
        "', found none: the model was converted without one. Convert it again with its tokenizer.");
  return out;
}

LoadedModel load(const std::filesystem::path& path, const LoadOptions& options) {
  const auto change = [&](Model& model) {
    if (options.top_k) use_top_k(model, *options.top_k);
  };
  LoadedModel out;
  if (is_foreign(path)) {
    auto foreign = load_hugging_face(path, options.dtype, change);
    out.model = std::move(foreign.model);
    out.config = config_for(foreign.spec);
    out.folder = path;
    out.family = foreign.family;
    out.names = foreign.names;
    if (options.with_tokenizer) out.tokenizer = foreign_tokenizer(path);
    return out;
  }
  const auto opened = open_checkpoint(path, options.verify);
  out.folder = opened.folder;
  out.step = opened.step.value_or(0);
  out.has_step = opened.step.has_value();
  out.converted_from = opened.converted_from;
  out.config = config_of(out.folder);
  out.model =
      configured((out.folder / "config.toml").string(), [&] { return make_model(out.spec()); });
  change(*out.model);
  materialise(*out.model, at::kCPU, options.dtype);
  checkpoint::load_tensors(
      out.folder, "model", tensors_of(*out.model), {},
      options.read_sources ? checkpoint::Missing::kMakeAnew : checkpoint::Missing::kRefuse);
  out.model->eval();
  if (options.with_tokenizer) out.tokenizer = tokenizer_of(out.folder, out.config);
  return out;
}

LoadedModel load(const std::filesystem::path& path, at::ScalarType dtype, bool with_tokenizer) {
  LoadOptions options;
  options.dtype = dtype;
  options.with_tokenizer = with_tokenizer;
  return load(path, options);
}

at::ScalarType stored_type(const std::filesystem::path& path) {
  if (is_foreign(path)) return stored_type_of(read_hugging_face(path), path);
  at::ScalarType out = at::ScalarType::Undefined;
  const auto take = [&](at::ScalarType type) {
    if (at::isFloatingType(type))
      out = out == at::ScalarType::Undefined ? type : at::promoteTypes(out, type);
  };
  const Path folder = find_checkpoint(path, /*verify=*/false);
  LoadedModel model;
  model.config = config_of(folder);
  const auto made =
      configured((folder / "config.toml").string(), [&] { return make_model(model.spec()); });
  std::set<std::string> of_their_own;  // whatever type was asked for
  for (const auto& tensor : tensors_of(*made))
    if (type_in(tensor, at::kBFloat16) != at::kBFloat16) of_their_own.insert(tensor.name);
  for (const auto& [name, file] : checkpoint::read_manifest(folder).files) {
    if (!name.starts_with("model.") || !name.ends_with(".safetensors")) continue;
    const auto opened = formats::SafetensorsFile::open(folder / name);
    for (const auto& tensor : opened.names())
      if (!of_their_own.contains(tensor)) take(opened.info(tensor).dtype);
  }
  return out == at::ScalarType::Undefined ? at::kFloat : out;
}

data::DataOptions data_options_of(const LoadedModel& model) {
  data::DataOptions out;
  const auto* data = model.config.find("data");
  check<ConfigError>(
      data && data->as<Table>(), "models/load", "expected a run, whose [data] is read, in '",
      model.folder.string(), "', found a model that ",
      model.family.empty() ? "was converted or written without one" : "another program trained",
      ". Name a run, or give the data yourself (moe eval --data, moe forward --tokens).");
  read_fields(out, *data->as<Table>(), "data");
  // Its own, whatever became of the file that the run read it from.
  if (const Path file = model.folder / data::kTokenizerFile; real_files().exists(file))
    out.tokenizer = file.string();
  return out;
}

}  // namespace moe::models
