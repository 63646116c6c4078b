#include <map>
#include <vector>

#include <moe/base/error.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/tensors.h>
#include <moe/config/toml.h>
#include <moe/models/hugging_face.h>
#include <moe/models/save.h>
#include <moe/parameters/list.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfSave = "models/save";

/// What belongs to a model beside its weights and config.json.
const std::vector<std::string> kCompanions = {
    "added_tokens.json", "chat_template.jinja",     "generation_config.json",
    "merges.txt",        "special_tokens_map.json", "tokenizer.json",
    "tokenizer.model",   "tokenizer_config.json",   "vocab.json"};

Fill text_of(std::string text) {
  return [text = std::move(text)](OutputFile& out) { out.write(bytes_of(text)); };
}

Fill copy_of(const Path& path) {
  return
      [path](OutputFile& out) { real_files().read(path, [&](auto bytes) { out.write(bytes); }); };
}

std::string type_text(at::ScalarType type) {
  return type == at::kBFloat16 ? "bfloat16"
         : type == at::kHalf   ? "float16"
         : type == at::kDouble ? "float64"
                               : "float32";
}

}  // namespace

void save_native(const LoadedModel& model, const Path& folder) {
  Table config;
  config.set("model", write_fields(model.spec()));
  checkpoint::Publication publication((folder / "").parent_path());
  publication.add("config.toml", text_of(config::write_toml(config)));
  if (model.tokenizer && !model.tokenizer->tokenizer_json().empty())
    publication.add(data::kTokenizerFile, text_of(model.tokenizer->tokenizer_json()));
  checkpoint::add_tensors(&publication, "model", tensors_of(*model.model), *parallel::local());
  std::map<std::string, std::string> metadata;
  if (model.has_step) metadata["step"] = std::to_string(model.step);
  publication.finish(std::move(metadata));
}

void save_hugging_face(const LoadedModel& model, const Path& folder, const std::string& family) {
  std::map<std::string, Fill> others;
  std::string name = model.family;
  Table config;
  if (!name.empty()) {
    check<ConfigError>(family.empty() || family == name, kPlaceOfSave, "expected the family '",
                       name, "', which the model is of, got '", family, "'. Leave it out.");
    config = HfConfig::read(model.folder).settings();
    for (const auto& file : kCompanions)
      if (real_files().exists(model.folder / file)) others[file] = copy_of(model.folder / file);
  } else {
    name = family;
    config = family_of(family)->config(model.spec());
    if (model.tokenizer && !model.tokenizer->tokenizer_json().empty())
      others[data::kTokenizerFile] = text_of(model.tokenizer->tokenizer_json());
  }
  config.set(config.find("dtype") ? "dtype" : "torch_dtype", type_text(model.model->dtype()));
  write_hugging_face(real_files(), folder, *model.model,
                     tensor_map(name, model.spec(), *model.model), config, others);
}

}  // namespace moe::models
