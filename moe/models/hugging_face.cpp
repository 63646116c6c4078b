#include <algorithm>

#include <moe/base/error.h>
#include <moe/formats/json_table.h>
#include <moe/models/configured.h>
#include <moe/models/hugging_face.h>
#include <moe/models/stored_weights.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::models {

std::string naming_file(const std::string& message, const std::string& file) {
  if (message.find(file) != message.npos) return message;
  const size_t line = std::min(message.find('\n'), message.size());
  return concat(message.substr(0, line), " That is what '", file, "' says.", message.substr(line));
}

namespace {

constexpr const char* kPlaceOfHuggingFace = "models/hugging_face";

/// What stands in multimodal directories beside the language model.
const std::vector<std::string> kOtherModalities = {
    "*audio_tower.*",  "*embed_audio.*",  "*embed_vision.*", "*multi_modal_projector.*",
    "*vision_model.*", "*vision_tower.*", "*visual.*"};

/// The map for a model of `directory`, multimodal or not.
TensorMap names_in(const HuggingFaceConfig& directory, const torch::nn::Module& model,
                   const TensorShapes& checkpoint) {
  NameMap names = family_of(directory.family)->names(directory.spec);
  if (directory.config.is_multimodal()) {
    names.prefix("model.", "model.language_model.");
    names.prefix("", "language_model.");
    for (const auto& other : kOtherModalities) names.add(ignored(other));
  }
  return names.fill_in(tensors_of(model), checkpoint);
}

/// Removes what was written so far: of a large model it fills the disk.
void take_back(FileSystem& files, const Path& temporary) {
  try {
    if (files.exists(temporary)) remove_all(files, temporary);
  } catch (const Error&) {
    // The next attempt removes it.
  }
}

}  // namespace

bool is_hugging_face(const Path& folder) {
  return real_files().exists(folder / kHfConfigName);
}

HuggingFaceConfig read_hugging_face(const Path& folder) {
  return configured((folder / kHfConfigName).string(), [&]() -> HuggingFaceConfig {
    auto config = HfConfig::read(folder);
    auto family = family_name(config);
    auto spec = family_of(family)->options(config);
    return {std::move(family), std::move(spec), std::move(config)};
  });
}

TensorMap tensor_map(const std::string& family, const ModelSpec& spec,
                     const torch::nn::Module& model, const TensorShapes& checkpoint) {
  return family_of(family)->names(spec).fill_in(tensors_of(model), checkpoint);
}

HuggingFaceModel load_hugging_face(const Path& folder, at::ScalarType dtype,
                                   const std::function<void(Model&)>& change) {
  HuggingFaceModel out{read_hugging_face(folder), nullptr, nullptr};
  const auto weights = StoredWeights::open(folder, out.config, Mapping::kCopyOnWrite);
  out.model = configured((folder / kHfConfigName).string(), [&] { return make_model(out.spec); });
  if (change) change(*out.model);
  out.names = std::make_shared<const TensorMap>(names_in(out, *out.model, weights.shapes()));
  fill_from_weights(*out.model, *out.names, weights, dtype, concat('\'', folder.string(), '\''));
  out.model->eval();
  return out;
}

at::ScalarType stored_type_of(const HuggingFaceConfig& directory, const Path& folder) {
  const auto weights = StoredWeights::open(folder, directory.config);
  const auto model =
      configured((folder / kHfConfigName).string(), [&] { return make_model(directory.spec); });
  const Parameters ours = tensors_of(*model);
  auto out = at::ScalarType::Undefined;
  const auto names = names_in(directory, *model, weights.shapes());
  for (const auto& tensor : names.tensors()) {
    if (!weights.shapes().contains(tensor.name)) continue;  // loading says so
    const auto& parameter = ours[tensor.pieces.front().parameter];
    const auto type = weights.dtype(tensor.name).value_or(at::kBFloat16);
    if (is_plain(type) && type_in(parameter, at::kBFloat16) == at::kBFloat16)
      out = out == at::ScalarType::Undefined ? type : at::promoteTypes(out, type);
  }
  return out == at::ScalarType::Undefined ? at::kFloat : out;
}

void write_hugging_face(FileSystem& files, const Path& folder, const torch::nn::Module& model,
                        const TensorMap& map, const Table& config,
                        const std::map<std::string, Fill>& others, uint64_t shard_bytes,
                        const std::vector<formats::TensorSource>& further,
                        const std::map<std::string, at::ScalarType>& types) {
  const Path target = (folder / "").parent_path(), parent = folder_of(target);  // also of "folder/"
  check(!files.exists(target) ||
            (files.kind(target) == FileKind::kFolder && files.list(target).empty()),
        kPlaceOfHuggingFace, "expected a new or empty folder at '", target.string(),
        "', found something there. Name another, or remove it.");
  const Parameters ours = tensors_of(model);
  const auto parameter = [&](size_t p) { return ours[p].tensor; };
  std::vector<formats::TensorSource> sources;
  for (const auto& tensor : map.tensors()) {
    const auto named = types.find(tensor.name);
    const auto type = named != types.end()
                          ? named->second
                          : parameter(tensor.pieces.front().parameter).scalar_type();
    sources.push_back({tensor.name, type, tensor.shape, [&tensor, &parameter, type] {
                         return to_foreign(tensor, parameter).detach().to(type);
                       }});
  }
  sources.insert(sources.end(), further.begin(), further.end());
  const Path temporary = parent / concat(".tmp-", target.filename().string());
  make_folders(files, parent);
  if (files.exists(temporary)) remove_all(files, temporary);  // of a process that was killed
  files.make_folder(temporary);
  try {
    formats::write_shards(files, temporary, sources, shard_bytes);
    for (const auto& [name, fill] : others) write_file(files, temporary / name, fill);
    write_file(files, temporary / kHfConfigName,
               [&](OutputFile& out) { out.write(bytes_of(formats::format_json_table(config))); });
    files.sync_folder(temporary);
    files.rename(temporary, target);
  } catch (...) {
    take_back(files, temporary);
    throw;
  }
  files.sync_folder(parent);
}

}  // namespace moe::models
