#pragma once
// A checkpoint of an untrained byte model, for tests of the commands that load one.

#include <string>

#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/tensors.h>
#include <moe/config/toml.h>
#include <moe/parameters/list.h>

#include "tests/support/tiny_model.h"

namespace moe::test {

/// Writes the checkpoint `folder` with `model`, which is of tiny_text_options.
inline void write_tiny_checkpoint(const Path& folder, const models::Model& model) {
  Table data, config;
  data.set("tokenizer", "byte");
  config.set("model", write_fields(models::ModelSpec(tiny_text_options())));
  config.set("data", data);
  checkpoint::Publication publication(folder);
  publication.add("config.toml",
                  [&](OutputFile& out) { out.write(bytes_of(config::write_toml(config))); });
  checkpoint::add_tensors(publication, "model", tensors_of(model));
  publication.finish({{"step", "7"}});
}

/// The same, and returns the model that is in it.
inline std::shared_ptr<models::Model> write_tiny_checkpoint(const Path& folder) {
  const auto model = tiny_text_model().model;
  write_tiny_checkpoint(folder, *model);
  return model;
}

}  // namespace moe::test
