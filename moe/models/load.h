#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include <moe/data/tokenizer.h>
#include <moe/models/model.h>

namespace moe::models {

/// A model ready to run, with what it needs to read and write text.
struct LoadedModel {
  std::shared_ptr<Model> model;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  /// The resolved configuration of the run that made it.
  Table config;
  /// The checkpoint's folder and the optimizer steps it has seen.
  std::filesystem::path folder;
  int64_t step = 0;
};

/// The model of `path`: a run (its newest whole checkpoint), one checkpoint, or a Hugging Face model directory.
/// Parameters come as `dtype`. Throws moe::Error when nothing loads whole, naming unknown, missing or misshapen
/// tensors.
LoadedModel load(const std::filesystem::path& path, at::ScalarType dtype = at::kFloat);

/// The resolved configuration of a run or checkpoint without its tensors.
Table load_config(const std::filesystem::path& path);

/// The tokenizer of a run or checkpoint without its tensors; of a folder of another program that
/// has a tokenizer.json, or of such a file itself, that one.
std::shared_ptr<const data::Tokenizer> load_tokenizer(const std::filesystem::path& path);

}  // namespace moe::models
