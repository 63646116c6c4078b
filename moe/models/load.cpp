#include <moe/checkpoint/manifest.h>
#include <moe/checkpoint/steps.h>
#include <moe/checkpoint/tensors.h>
#include <moe/config/toml.h>
#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/models/load.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::models {

namespace {

constexpr uint64_t kLargestConfig = 16u << 20;

/// The checkpoint folder that `path` means.
Path find_checkpoint(const Path& path) {
  auto& files = real_files();
  std::error_code ignored;
  check<ConfigError>(std::filesystem::is_directory(path, ignored), "models/load",
                     "expected a folder with a model, found none at '", path.string(),
                     "'. Check the path.");
  if (files.exists(path / checkpoint::kManifestName)) return path;
  if (const auto newest = checkpoint::latest_checkpoint(path / "checkpoints")) return *newest;
  check(!files.exists(path / "config.json"), "models/load",
        "expected a run or a checkpoint of moe, found a Hugging Face model in ", path.string(),
        ". This version reads its own checkpoints only.");
  std::vector<std::string> runs;
  for (const auto& name : files.list(path))
    if (files.exists(path / name / "checkpoints")) runs.push_back((path / name).string());
  check<ConfigError>(runs.empty(), "models/load", "expected one run, found several in ",
                     path.string(), ". Name one of them.", indented_list(runs));
  check(!files.exists(path / "checkpoints"), "models/load", "expected a whole checkpoint in ",
        (path / "checkpoints").string(),
        ", found none that verifies. Mend what the warnings name, or train on until there is one.");
  fail("models/load", "expected a run (with checkpoints/) or a checkpoint (with manifest.json) in ",
       path.string(), ", found neither. Train first, or wait for the run's first checkpoint.");
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

/// A checkpoint holds its tokenizer, whatever path the run read it from.
std::shared_ptr<const data::Tokenizer> tokenizer_of(const Path& checkpoint, const Table& config) {
  const Path file = checkpoint / data::kTokenizerFile;
  if (real_files().exists(file)) return data::read_bpe_tokenizer(file);
  const Value* kind = section(config, "data").find("tokenizer");
  const auto* name = kind ? kind->as<std::string>() : nullptr;
  check(!name || *name == "byte", "models/load", "expected ", data::kTokenizerFile, " in '",
        checkpoint.string(), "', found none; the run's tokenizer was '", name ? *name : "",
        "'. The checkpoint is damaged: use another.");
  return data::make_tokenizer("byte");
}

}  // namespace

Table load_config(const std::filesystem::path& path) {
  return config_of(find_checkpoint(path));
}

std::shared_ptr<const data::Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  auto& files = real_files();
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) return data::read_bpe_tokenizer(path);
  check<ConfigError>(std::filesystem::is_directory(path, error), "models/load",
                     "expected a tokenizer.json, a run or a checkpoint, found none at '",
                     path.string(), "'. Check the path.");
  const bool is_ours =
      files.exists(path / checkpoint::kManifestName) || files.exists(path / "checkpoints");
  if (!is_ours && files.exists(path / data::kTokenizerFile))
    return data::read_bpe_tokenizer(path / data::kTokenizerFile);
  const Path checkpoint = find_checkpoint(path);
  return tokenizer_of(checkpoint, config_of(checkpoint));
}

LoadedModel load(const std::filesystem::path& path, at::ScalarType dtype) {
  LoadedModel out;
  out.folder = find_checkpoint(path);
  out.config = config_of(out.folder);
  ModelSpec spec;
  read_fields(spec, section(out.config, "model"), "model");
  out.model = make_model(spec);
  materialise(*out.model, at::kCPU, dtype);
  checkpoint::load_tensors(out.folder, "model", tensors_of(*out.model), *parallel::local());
  out.model->eval();
  out.tokenizer = tokenizer_of(out.folder, out.config);
  const auto metadata = checkpoint::read_manifest(out.folder).metadata;
  if (const auto step = metadata.find("step"); step != metadata.end())
    out.step = std::strtoll(step->second.c_str(), nullptr, 10);
  return out;
}

}  // namespace moe::models
