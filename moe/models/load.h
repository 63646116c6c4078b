#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <moe/data/options.h>
#include <moe/data/tokenizer.h>
#include <moe/models/model.h>
#include <moe/models/name_map.h>

namespace moe::models {

/// A model ready to run, with what it needs to read and write text.
struct LoadedModel {
  std::shared_ptr<Model> model;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  /// The resolved configuration of the run that made it; of a converted model [model] alone.
  Table config;
  /// The folder of the checkpoint or model, and the optimizer steps it has seen; 0 where nothing
  /// says how many (has_step).
  std::filesystem::path folder;
  int64_t step = 0;
  bool has_step = false;
  /// Of a Hugging Face directory the family, whose names its tensors have; empty for models of our
  /// own.
  std::string family = {};
  /// And where they stand in the model; null for models of our own.
  std::shared_ptr<const TensorMap> names = {};

  /// Of a checkpoint of ours that was converted from such a directory, or trained on from one, the
  /// directory's family.
  std::string converted_from = {};

  /// What it is made from.
  ModelSpec spec() const;
};

struct LoadOptions {
  /// Of the parameters; see type_in of parameters/materialise.h for what stays wider.
  at::ScalarType dtype = at::kFloat;
  bool with_tokenizer = true;
  /// Compare every file of a checkpoint of ours with its checksum first: all of it is read once.
  bool verify = true;
  /// Experts a token chooses in every MoE layer, instead of those the model was trained with.
  std::optional<int64_t> top_k = {};
  /// Of a checkpoint of an older version: make what it lacks from the files that its configuration
  /// names (the table of a hash router, a recording), which it read each time.
  bool read_sources = false;
};

/// The model of `path`: a run (its newest checkpoint), one checkpoint, or a Hugging Face model
/// directory (a view of its files where it can be: see hugging_face.h). What it computes depends on
/// nothing outside that folder. Without a tokenizer.json in a directory, or where it is not asked
/// for, the tokenizer is null.
///
/// Throws moe::Error for a checkpoint that is not whole (of a run no older one is taken in its
/// place), naming what is damaged; for unknown, missing or misshapen tensors; for a tokenizer.json
/// that this version does not read; and ConfigError for a `top_k` that the model cannot serve.
LoadedModel load(const std::filesystem::path& path, const LoadOptions& options);
LoadedModel load(const std::filesystem::path& path, at::ScalarType dtype = at::kFloat,
                 bool with_tokenizer = true);

/// A checkpoint of ours, found and, unless it is not to be, verified.
struct OpenedCheckpoint {
  std::filesystem::path folder;
  /// The optimizer steps it has seen; none for a model that was converted.
  std::optional<int64_t> step;
  /// The family of the directory that it comes from; empty for others.
  std::string converted_from = {};
};

/// The checkpoint that `path`, which is_foreign says is ours, means. Throws as load does.
OpenedCheckpoint open_checkpoint(const std::filesystem::path& path, bool verify = true);

/// Whether `path` is a model directory of another program: one with a config.json that is no run
/// and no checkpoint.
bool is_foreign(const std::filesystem::path& path);

/// The type that the parameters of `path` are stored in, of those that take the type they are asked
/// for (type_in); of several the widest. Verifies nothing.
at::ScalarType stored_type(const std::filesystem::path& path);

/// The resolved configuration of a run, checkpoint or Hugging Face directory without its tensors.
Table load_config(const std::filesystem::path& path, bool verify = true);

/// The file of a folder that holds its tokenizer: tokenizer.json, else tokenizer.model,
/// spiece.model, tiktoken.model or qwen.tiktoken; empty without one.
std::filesystem::path tokenizer_file_in(const std::filesystem::path& folder);

/// The tokenizer of a run or checkpoint without its tensors; of a folder of another program that
/// has a tokenizer.json, or of such a file itself, that one.
std::shared_ptr<const data::Tokenizer> load_tokenizer(const std::filesystem::path& path,
                                                      bool verify = true);

/// The data of the run that made the model, read with the model's own tokenizer. Throws moe::Error
/// when its configuration has none.
data::DataOptions data_options_of(const LoadedModel& model);

}  // namespace moe::models
