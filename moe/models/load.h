#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <moe/data/options.h>
#include <moe/data/tokenizer.h>
#include <moe/models/model.h>

namespace moe::models {

/// A model ready to run, with what it needs to read and write text.
struct LoadedModel {
  std::shared_ptr<Model> model;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  /// The resolved configuration of the run that made it; of a converted model [model] alone.
  Table config;
  /// The folder of the checkpoint or model, and the optimizer steps it has seen.
  std::filesystem::path folder;
  int64_t step = 0;
  /// Of a Hugging Face directory the family, whose names its tensors have; empty for models of our
  /// own.
  std::string family = {};

  /// What it is made from.
  ModelSpec spec() const;
};

/// The model of `path`: a run (its newest whole checkpoint), one checkpoint, or a Hugging Face
/// model directory (a view of its files where it can be: see hugging_face.h). Parameters come as
/// `dtype`. Without a tokenizer.json in a directory, or where it is not asked for, the tokenizer is
/// null. Throws moe::Error when nothing loads whole, naming unknown, missing or misshapen tensors,
/// and for a tokenizer.json that this version does not read.
LoadedModel load(const std::filesystem::path& path, at::ScalarType dtype = at::kFloat,
                 bool with_tokenizer = true);

/// Whether `path` is a model directory of another program: one with a config.json that is no run
/// and no checkpoint.
bool is_foreign(const std::filesystem::path& path);

/// The type that the parameters of `path` are stored in; of several the widest.
at::ScalarType stored_type(const std::filesystem::path& path);

/// The resolved configuration of a run, checkpoint or Hugging Face directory without its tensors.
Table load_config(const std::filesystem::path& path);

/// The tokenizer of a run or checkpoint without its tensors; of a folder of another program that
/// has a tokenizer.json, or of such a file itself, that one.
std::shared_ptr<const data::Tokenizer> load_tokenizer(const std::filesystem::path& path);

/// The data of the run that made the model, read with the model's own tokenizer. Throws moe::Error
/// when its configuration has none.
data::DataOptions data_options_of(const LoadedModel& model);

}  // namespace moe::models
