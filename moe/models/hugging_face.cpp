#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>

#include <moe/base/error.h>
#include <moe/base/log.h>
#include <moe/formats/finite.h>
#include <moe/formats/json_table.h>
#include <moe/models/hugging_face.h>
#include <moe/models/stored_weights.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfHuggingFace = "models/hugging_face";

bool is_plain(at::ScalarType type) {
  return type == at::kFloat || type == at::kBFloat16 || type == at::kHalf || type == at::kDouble;
}

void check_types(const TensorMap& map, const StoredWeights& weights, std::string_view source) {
  std::vector<std::string> wrong;
  for (const auto& tensor : map.tensors())
    if (const auto type = weights.dtype(tensor.name); type && !is_plain(*type))
      wrong.push_back(concat('\'', tensor.name, "' is ", c10::toString(*type)));
  if (!wrong.empty())
    fail(kPlaceOfHuggingFace,
         "expected tensors in float32, bfloat16, float16 or float64, or quantised as "
         "quantization_config in config.json says, in ",
         source, ", got ", wrong.size(), " of other types. Fetch the model in one of these.",
         indented_list(wrong));
}

/// Notes tensors with numbers that are not finite.
class FiniteCheck {
 public:
  void look_at(const std::string& name, const Tensor& values) {
    if (const int64_t found = formats::count_not_finite(values); found > 0)
      found_.push_back(concat('\'', name, "': ", found, " of ", values.numel()));
  }
  void warn(std::string_view source) const {
    if (!found_.empty())
      log::warn(concat("weights of ", source,
                       " hold numbers that are not finite (NaN or "
                       "infinity), in ",
                       found_.size(), " tensors; so will results that meet them.",
                       indented_list(found_)));
  }

 private:
  std::vector<std::string> found_;
};

/// A tensor that only repeats a parameter must hold the same numbers.
void check_tied(const std::string& name, const Tensor& values, const Parameter& ours) {
  check(at::equal(values.to(ours.tensor.scalar_type()), ours.tensor), kPlaceOfHuggingFace,
        "expected '", name, "' to repeat '", ours.name,
        "', as config.json says (tie_word_embeddings), got other numbers. Correct the flag.");
}

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

}  // namespace

bool is_hugging_face(const Path& folder) {
  return real_files().exists(folder / kHfConfigName);
}

HuggingFaceConfig read_hugging_face(const Path& folder) {
  auto config = HfConfig::read(folder);
  auto family = family_name(config);
  auto spec = family_of(family)->options(config);
  return {std::move(family), std::move(spec), std::move(config)};
}

TensorMap tensor_map(const std::string& family, const ModelSpec& spec,
                     const torch::nn::Module& model, const TensorShapes& checkpoint) {
  return family_of(family)->names(spec).fill_in(tensors_of(model), checkpoint);
}

void fill_from_weights(const torch::nn::Module& model, const TensorMap& map,
                       const StoredWeights& weights, at::ScalarType dtype,
                       std::string_view source) {
  const at::NoGradGuard no_grad;
  map.check_tensors(weights.shapes(), source);
  check_types(map, weights, source);
  std::map<std::string_view, const ForeignTensor*> foreign;
  for (const auto& tensor : map.tensors()) foreign[tensor.name] = &tensor;
  const Parameters ours = tensors_of(model);
  const auto target = [&](size_t p) {
    const Tensor& tensor = ours[p].tensor;
    if (tensor.is_meta()) set_memory(tensor, at::empty(tensor.sizes(), type_in(ours[p], dtype)));
    return tensor;
  };
  FiniteCheck finite;
  for (const auto& name : weights.names()) {  // in the order of their bytes
    const auto found = foreign.find(name);
    if (found == foreign.end()) continue;
    const ForeignTensor& tensor = *found->second;
    const size_t first = tensor.pieces.front().parameter;
    const auto type = type_in(ours[first], dtype);
    const Tensor values = weights.tensor(name, type);
    finite.look_at(name, values);
    if (tensor.is_parameter() && ours[first].tensor.is_meta() && weights.dtype(name) == type)
      set_memory(ours[first].tensor, values);
    else
      from_foreign(tensor, values, target);
    weights.release(name);
  }
  for (const auto& name : weights.names()) {
    const auto parameter = map.tied_to(name);
    if (!parameter) continue;
    const Parameter& repeated = ours[*parameter];
    check_tied(name, weights.tensor(name, repeated.tensor.scalar_type()), repeated);
    weights.release(name);
  }
  finite.warn(source);
}

HuggingFaceModel load_hugging_face(const Path& folder, at::ScalarType dtype,
                                   const std::function<void(Model&)>& change) {
  HuggingFaceModel out{read_hugging_face(folder), nullptr, nullptr};
  const auto weights = StoredWeights::open(folder, out.config, Mapping::kCopyOnWrite);
  out.model = make_model(out.spec);
  if (change) change(*out.model);
  out.names = std::make_shared<const TensorMap>(names_in(out, *out.model, weights.shapes()));
  fill_from_weights(*out.model, *out.names, weights, dtype, concat('\'', folder.string(), '\''));
  out.model->eval();
  return out;
}

at::ScalarType stored_type_of(const HuggingFaceConfig& directory, const Path& folder) {
  const auto weights = StoredWeights::open(folder, directory.config);
  const auto model = make_model(directory.spec);
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
  formats::write_shards(files, temporary, sources, shard_bytes);
  for (const auto& [name, fill] : others) write_file(files, temporary / name, fill);
  write_file(files, temporary / kHfConfigName,
             [&](OutputFile& out) { out.write(bytes_of(formats::format_json_table(config))); });
  files.sync_folder(temporary);
  files.rename(temporary, target);
  files.sync_folder(parent);
}

}  // namespace moe::models
