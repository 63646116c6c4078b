#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include <moe/base/error.h>
#include <moe/base/glob.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/tensors.h>
#include <moe/config/toml.h>
#include <moe/formats/json_table.h>
#include <moe/models/hugging_face.h>
#include <moe/models/save.h>
#include <moe/models/stored_weights.h>
#include <moe/parameters/list.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfSave = "models/save";

/// What belongs to a model beside its weights and config.json: *.py is the code of families that
/// transformers has not.
const std::vector<std::string> kCompanions = {"added_tokens.json",
                                              "chat_template.jinja",
                                              "chat_template.json",
                                              "generation_config.json",
                                              "merges.txt",
                                              "preprocessor_config.json",
                                              "processor_config.json",
                                              "special_tokens_map.json",
                                              "spiece.model",
                                              "tekken.json",
                                              "tiktoken.model",
                                              "tokenizer.json",
                                              "tokenizer.model",
                                              "tokenizer_config.json",
                                              "video_preprocessor_config.json",
                                              "vocab.json",
                                              "vocab.txt",
                                              "*.py"};

Fill text_of(std::string text) {
  return [text = std::move(text)](OutputFile& out) { out.write(bytes_of(text)); };
}

Fill copy_of(const Path& path) {
  return
      [path](OutputFile& out) { real_files().read(path, [&](auto bytes) { out.write(bytes); }); };
}

void copy_companions(std::map<std::string, Fill>& others, const Path& folder) {
  for (const auto& name : real_files().list(folder))
    if (std::ranges::any_of(kCompanions, [&](const auto& file) { return glob_match(file, name); }))
      others[name] = copy_of(folder / name);
}

std::string type_text(at::ScalarType type) {
  return type == at::kBFloat16 ? "bfloat16"
         : type == at::kHalf   ? "float16"
         : type == at::kDouble ? "float64"
                               : "float32";
}

/// Takes the place of what `table` says of the type of tensors.
void set_type(Table& table, at::ScalarType type) {
  table.set(table.find("dtype") ? "dtype" : "torch_dtype", type_text(type));
}

Table table_without(const Table& table, std::string_view key) {
  Table out;
  for (const auto& [name, value] : table)
    if (name != key) out.set(name, value);
  return out;
}

/// config.json of the directory that a model came from, for its tensors as they are here: plain.
Table plain_config(const HfConfig& config, at::ScalarType type) {
  constexpr const char* kQuantisation = "quantization_config";
  Table out = table_without(config.settings(), kQuantisation);
  if (const Value* text = out.find("text_config"); text && text->as<Table>()) {
    Table inner = table_without(*text->as<Table>(), kQuantisation);
    set_type(inner, type);
    out.set("text_config", std::move(inner));
  }
  set_type(out, type);
  return out;
}

/// What the directory of a model holds beside the model's own tensors: other modalities, layers
/// that predict further tokens. Quantised ones become plain.
std::vector<formats::TensorSource> other_tensors(const LoadedModel& model, const HfConfig& config) {
  const auto weights =
      std::make_shared<const StoredWeights>(StoredWeights::open(model.folder, config));
  std::set<std::string_view> own;
  for (const auto& tensor : model.names->tensors()) own.insert(tensor.name);
  std::vector<formats::TensorSource> out;
  for (const auto& name : weights->names()) {
    if (own.contains(name) || !model.names->ignores(name)) continue;
    const auto type = weights->dtype(name).value_or(model.model->dtype());
    out.push_back({name, type, weights->shapes().at(name),
                   [weights, name, type] { return weights->tensor(name, type); }});
  }
  return out;
}

/// Tensors that the model keeps in float32 whatever its type is (biases of routers), where its
/// directory has them in `type` too.
std::map<std::string, at::ScalarType> narrow_tensors(const LoadedModel& model,
                                                     const HfConfig& config, at::ScalarType type) {
  const auto weights = StoredWeights::open(model.folder, config);
  const Parameters ours = tensors_of(*model.model);
  std::map<std::string, at::ScalarType> out;
  for (const auto& tensor : model.names->tensors())
    if (ours[tensor.pieces.front().parameter].tensor.scalar_type() != type &&
        weights.shapes().contains(tensor.name) && weights.dtype(tensor.name) == type)
      out[tensor.name] = type;
  return out;
}

/// A text of a section of a run's configuration; null where there is none.
const std::string* text_in(const Table& config, const char* section, const char* key) {
  const Value* const table = config.find(section);
  const Value* const value = table && table->as<Table>() ? table->as<Table>()->find(key) : nullptr;
  return value ? value->as<std::string>() : nullptr;
}

/// Whether the model reads text with the tokenizer of the directory that it came from.
bool keeps_tokenizer(const LoadedModel& model, const Path& origin) {
  const auto* const file = text_in(model.config, "data", "tokenizer");
  std::error_code ignored;
  return file && std::filesystem::equivalent(*file, origin / data::kTokenizerFile, ignored);
}

/// Names the tokens of a model of our own: in config.json, generation_config.json and, where it has
/// a tokenizer.json, beside that. What is not said, transformers would take from the family.
void add_tokens(Table& config, std::map<std::string, Fill>& others, const LoadedModel& model) {
  constexpr int64_t kNone = -1;
  const int64_t end = model.tokenizer ? model.tokenizer->end_of_text().value_or(kNone) : kNone;
  const bool ends = end != kNone;
  config.set("bos_token_id", Value());
  config.set("eos_token_id", ends ? Value(end) : Value());
  // That of the published vocabulary may lie outside of this one.
  if (!config.find("pad_token_id")) config.set("pad_token_id", Value());
  if (const auto origin = origin_of(model); origin && keeps_tokenizer(model, *origin)) {
    const auto was = HfConfig::read(*origin);
    for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
      if (const Value* token = was.text_part().settings().find(key)) config.set(key, *token);
    return copy_companions(others, *origin);
  }
  Table generation;
  if (ends) generation.set("eos_token_id", end);
  others["generation_config.json"] = text_of(formats::format_json_table(generation));
  if (!model.tokenizer || model.tokenizer->tokenizer_json().empty()) return;
  others[data::kTokenizerFile] = text_of(model.tokenizer->tokenizer_json());
  // Without it, transformers makes the tokenizer that models of the family usually have.
  Table tokenizer = table_of(
      {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}});
  if (ends) tokenizer.set("eos_token", model.tokenizer->decode(std::vector<int64_t>{end}));
  others["tokenizer_config.json"] = text_of(formats::format_json_table(tokenizer));
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
  const auto& family = model.family.empty() ? model.converted_from : model.family;
  if (!family.empty()) metadata[kFamilyKey] = family;
  publication.finish(std::move(metadata));
}

void save_hugging_face(const LoadedModel& model, const Path& folder, const std::string& family) {
  const auto type = model.model->dtype();
  std::map<std::string, Fill> others;
  if (model.names) {
    check<ConfigError>(family.empty() || family == model.family, kPlaceOfSave,
                       "expected the family '", model.family, "', which the model is of, got '",
                       family, "'. Leave it out.");
    const auto config = HfConfig::read(model.folder);
    copy_companions(others, model.folder);
    return write_hugging_face(real_files(), folder, *model.model, *model.names,
                              plain_config(config, type), others, kShardBytes,
                              other_tensors(model, config), narrow_tensors(model, config, type));
  }
  Table config = family_of(family)->config(model.spec());
  set_type(config, type);
  add_tokens(config, others, model);
  write_hugging_face(real_files(), folder, *model.model,
                     tensor_map(family, model.spec(), *model.model), config, others);
}

std::optional<Path> origin_of(const LoadedModel& model) {
  const auto* const init = text_in(model.config, "train", "init");
  if (!init || init->empty() || !is_foreign(*init)) return std::nullopt;
  return *init;
}

}  // namespace moe::models
