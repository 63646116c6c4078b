#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include <moe/base/error.h>
#include <moe/base/glob.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/tensors.h>
#include <moe/config/toml.h>
#include <moe/data/tokenizers/tokenizer_settings.h>
#include <moe/formats/json_table.h>
#include <moe/models/companions.h>
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
                                              "qwen.tiktoken",
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

/// The id of a special token by its text; none where the tokenizer has no such token.
std::optional<int64_t> id_of(const data::Tokenizer& tokenizer, const std::string& text) {
  if (text.empty()) return std::nullopt;
  const auto ids = tokenizer.encode(text);
  return ids.size() == 1 ? std::optional(ids.front()) : std::nullopt;
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

/// bos_token_id, eos_token_id and pad_token_id, as far as they are known: as the directory said
/// that the model comes from, else as its tokenizer says.
Table token_ids(const LoadedModel& model) {
  Table out = model.folder.empty() ? Table() : read_origin(model.folder).tokens;
  if (!model.tokenizer) return out;
  const auto settings = model.folder.empty() ? data::TokenizerSettings()
                                             : data::read_tokenizer_settings(model.folder);
  for (const auto& [key, id] :
       {std::pair{"bos_token_id", id_of(*model.tokenizer, settings.begin_of_text)},
        std::pair{"eos_token_id", model.tokenizer->end_of_text()},
        std::pair{"pad_token_id", id_of(*model.tokenizer, settings.padding)}})
    if (id && !out.find(key)) out.set(key, *id);
  return out;
}

/// tokenizer_config.json of a tokenizer that came without: transformers would make the tokenizer
/// that models of the family usually have.
Table plain_tokenizer_config(const data::Tokenizer& tokenizer) {
  Table out = table_of(
      {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}});
  if (const auto end = tokenizer.end_of_text())
    out.set("eos_token", tokenizer.decode(std::vector<int64_t>{*end}));
  return out;
}

/// Names the tokens of a model of our own in config.json, and adds its tokenizer and companions.
void add_text_files(Table& config, std::map<std::string, Fill>& others, const LoadedModel& model) {
  const Table ids = token_ids(model);
  // What is not said, transformers would take from the family.
  for (const char* key : {"bos_token_id", "eos_token_id"}) config.set(key, Value());
  // That of the published vocabulary may lie outside of this one.
  if (!config.find("pad_token_id")) config.set("pad_token_id", Value());
  for (const auto& [key, id] : ids) config.set(key, id);
  Table generation = ids;
  // A model made here is drawn from; of another's, who say nothing mean the likeliest token.
  if (model.converted_from.empty()) generation.set("do_sample", true);
  others["generation_config.json"] = text_of(formats::format_json_table(generation));
  if (model.tokenizer) {
    const auto files = model.tokenizer->published_files();
    for (const auto& [name, content] : files) others[name] = text_of(content);
    if (!files.empty() && !files.contains("tokenizer_config.json"))
      others["tokenizer_config.json"] =
          text_of(formats::format_json_table(plain_tokenizer_config(*model.tokenizer)));
  }
  for (auto& [name, text] : companions_of(model))
    if (name != kOriginFile) others[name] = text_of(std::move(text));
}

}  // namespace

void save_native(const LoadedModel& model, const Path& folder, FileSystem& files) {
  Table config;
  config.set("model", write_fields(model.spec()));
  if (model.tokenizer && model.tokenizer->tokenizer_json().empty())
    config.set("tokenizer", model.tokenizer->name());
  checkpoint::Publication publication((folder / "").parent_path(), files);
  publication.add("config.toml", text_of(config::write_toml(config)));
  if (model.tokenizer && !model.tokenizer->tokenizer_json().empty())
    publication.add(data::kTokenizerFile, text_of(model.tokenizer->tokenizer_json()));
  for (auto& [name, text] : companions_of(model)) publication.add(name, text_of(std::move(text)));
  checkpoint::add_tensors(publication, "model", tensors_of(*model.model));
  std::map<std::string, std::string> metadata;
  if (model.has_step) metadata["step"] = std::to_string(model.step);
  publication.finish(std::move(metadata));
}

void save_hugging_face(const LoadedModel& model, const Path& folder, const std::string& family,
                       FileSystem& files) {
  const auto type = model.model->dtype();
  std::map<std::string, Fill> others;
  if (model.names) {
    check<ConfigError>(family.empty() || family == model.family, kPlaceOfSave,
                       "expected the family '", model.family, "', which the model is of, got '",
                       family, "'. Leave it out.");
    const auto config = HfConfig::read(model.folder);
    copy_companions(others, model.folder);
    return write_hugging_face(files, folder, *model.model, *model.names, plain_config(config, type),
                              others, kShardBytes, other_tensors(model, config),
                              narrow_tensors(model, config, type));
  }
  Table config = family_of(family)->config(model.spec());
  set_type(config, type);
  add_text_files(config, others, model);
  write_hugging_face(files, folder, *model.model, tensor_map(family, model.spec(), *model.model),
                     config, others);
}

}  // namespace moe::models
