#include <moe/base/error.h>
#include <moe/checkpoint/manifest.h>
#include <moe/data/tokenizer.h>
#include <moe/formats/json_table.h>
#include <moe/models/companions.h>
#include <moe/models/family.h>
#include <moe/models/load.h>

namespace moe::models {

namespace {

constexpr uint64_t kLargestCompanion = 64u << 20;
constexpr const char* kGenerationFile = "generation_config.json";
constexpr const char* kFamilyOfOrigin = "family";
constexpr const char* kTokenKeys[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
constexpr const char* kCarriedFiles[] = {"added_tokens.json",       "chat_template.jinja",
                                         "chat_template.json",      kGenerationFile,
                                         "special_tokens_map.json", "tokenizer_config.json"};

/// Where several tables say it, the first counts.
void add_tokens(Table& tokens, const Table& settings) {
  for (const char* key : kTokenKeys)
    if (const Value* id = settings.find(key); id && !id->empty() && !tokens.find(key))
      tokens.set(key, *id);
}

Origin origin_of_directory(const Path& folder) {
  const auto config = HfConfig::read(folder);
  Origin out{.family = family_name(config)};
  add_tokens(out.tokens, config.settings());
  add_tokens(out.tokens, config.text_part().settings());
  return out;
}

Origin parse_origin(const std::string& text, const std::string& what) {
  const Table table = formats::parse_json_table(text, "models/companions", what);
  Origin out;
  const Value* const family = table.find(kFamilyOfOrigin);
  if (const auto* name = family ? family->as<std::string>() : nullptr) out.family = *name;
  add_tokens(out.tokens, table);
  return out;
}

std::string origin_text(const Origin& origin) {
  Table out;
  out.set(kFamilyOfOrigin, origin.family);
  for (const auto& [key, id] : origin.tokens) out.set(key, id);
  return formats::format_json_table(out);
}

void set_origin(Companions& companions, const Origin& origin) {
  if (!origin.family.empty() || !origin.tokens.empty())
    companions[kOriginFile] = origin_text(origin);
}

Companions carried_files(const Path& folder) {
  Companions out;
  for (const char* name : kCarriedFiles)
    if (real_files().exists(folder / name))
      out[name] = read_file(real_files(), folder / name, kLargestCompanion);
  return out;
}

/// Whether `tokenizer`, as make_tokenizer takes it, makes the tokens of the model in `folder`.
bool is_tokenizer_of(const std::string& tokenizer, const Path& folder) {
  const Path file = tokenizer_file_in(folder);
  if (file.empty()) return tokenizer == "byte" && !is_foreign(folder);
  std::error_code ignored;
  return tokenizer != "byte" && (std::filesystem::equivalent(tokenizer, file, ignored) ||
                                 data::make_tokenizer(tokenizer)->tokenizer_json() ==
                                     data::read_tokenizer(file)->tokenizer_json());
}

}  // namespace

Origin read_origin(const Path& folder) {
  auto& files = real_files();
  const Path file = folder / kOriginFile;
  if (files.exists(file))
    return parse_origin(read_file(files, file, kLargestCompanion),
                        concat('\'', file.string(), '\''));
  if (is_foreign(folder)) return origin_of_directory(folder);
  Origin out;
  if (!files.exists(folder / checkpoint::kManifestName)) return out;
  // Checkpoints of older versions name the family in their manifest.
  const auto metadata = checkpoint::read_manifest(folder).metadata;
  if (const auto found = metadata.find("family"); found != metadata.end())
    out.family = found->second;
  return out;
}

std::string family_in(const Companions& companions) {
  const auto found = companions.find(kOriginFile);
  return found == companions.end() ? "" : parse_origin(found->second, kOriginFile).family;
}

Companions companions_of(const Path& folder) {
  Companions out = carried_files(folder);
  set_origin(out, read_origin(folder));
  return out;
}

Companions companions_of(const LoadedModel& model) {
  Companions out;
  Origin origin;
  if (!model.folder.empty()) {  // else it was made in memory
    out = carried_files(model.folder);
    origin = read_origin(model.folder);
  }
  if (origin.family.empty())
    origin.family = model.family.empty() ? model.converted_from : model.family;
  set_origin(out, origin);
  return out;
}

Companions companions_of_run(const std::string& tokenizer, const Path& init) {
  Origin origin;
  if (!init.empty()) {
    const Path source = is_foreign(init) ? init : open_checkpoint(init, /*verify=*/false).folder;
    if (is_tokenizer_of(tokenizer, source)) return companions_of(source);
    origin.family = read_origin(source).family;
  }
  Companions out;
  std::error_code ignored;
  if (std::filesystem::is_regular_file(tokenizer, ignored))
    out = carried_files(folder_of(tokenizer));
  out.erase(kGenerationFile);
  set_origin(out, origin);
  return out;
}

}  // namespace moe::models
