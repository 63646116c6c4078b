#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>

#include <moe/base/error.h>
#include <moe/formats/json_table.h>
#include <moe/models/hugging_face.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfHuggingFace = "models/hugging_face";

void check_type(const std::string& name, at::ScalarType type, std::string_view source) {
  const bool plain =
      type == at::kFloat || type == at::kBFloat16 || type == at::kHalf || type == at::kDouble;
  check(plain, kPlaceOfHuggingFace, "expected tensor '", name, "' of ", source,
        " as float32, bfloat16, float16 or float64, got ", c10::toString(type),
        ". Quantised checkpoints are not read yet; fetch an unquantised one.");
}

/// A tensor that only repeats a parameter must hold the same numbers.
void check_tied(const std::string& name, const Tensor& values, const Parameter& ours) {
  check(at::equal(values.to(ours.tensor.scalar_type()), ours.tensor), kPlaceOfHuggingFace,
        "expected '", name, "' to repeat '", ours.name,
        "', as config.json says (tie_word_embeddings), got other numbers. Correct the flag.");
}

}  // namespace

bool is_hugging_face(const Path& folder) {
  return real_files().exists(folder / kHfConfigName);
}

HuggingFaceConfig read_hugging_face(const Path& folder) {
  auto config = HfConfig::read(folder);
  auto spec = family_of(config)->options(config);
  return {config.text("model_type"), std::move(spec), std::move(config)};
}

TensorMap tensor_map(const std::string& family, const ModelSpec& spec,
                     const torch::nn::Module& model) {
  return family_of(family)->names(spec).fill_in(tensors_of(model));
}

void fill_from_shards(const torch::nn::Module& model, const TensorMap& map,
                      const formats::SafetensorsShards& shards, at::ScalarType dtype,
                      std::string_view source) {
  const at::NoGradGuard no_grad;
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& name : shards.names()) shapes[name] = shards.info(name).shape;
  map.check_tensors(shapes, source);
  std::map<std::string_view, const ForeignTensor*> foreign;
  for (const auto& tensor : map.tensors()) {
    check_type(tensor.name, shards.info(tensor.name).dtype, source);
    foreign[tensor.name] = &tensor;
  }
  const Parameters ours = tensors_of(model);
  const auto target = [&](size_t p) {
    const Tensor& tensor = ours[p].tensor;
    if (tensor.is_meta()) set_memory(tensor, at::empty(tensor.sizes(), type_in(ours[p], dtype)));
    return tensor;
  };
  for (const auto& name : shards.names()) {  // in the order of their bytes
    const auto found = foreign.find(name);
    if (found == foreign.end()) continue;
    const ForeignTensor& tensor = *found->second;
    const size_t first = tensor.pieces.front().parameter;
    if (tensor.is_parameter() && ours[first].tensor.is_meta() &&
        shards.info(name).dtype == type_in(ours[first], dtype)) {
      set_memory(ours[first].tensor, shards.tensor(name));
      continue;
    }
    from_foreign(tensor, shards.tensor(name), target);
    shards.release(name);
  }
  for (const auto& name : shards.names()) {
    const auto parameter = map.tied_to(name);
    if (!parameter) continue;
    check_tied(name, shards.tensor(name), ours[*parameter]);
    shards.release(name);
  }
}

HuggingFaceModel load_hugging_face(const Path& folder, at::ScalarType dtype,
                                   const std::function<void(Model&)>& change) {
  HuggingFaceModel out{read_hugging_face(folder), nullptr};
  out.model = make_model(out.spec);
  if (change) change(*out.model);
  const auto map = tensor_map(out.family, out.spec, *out.model);
  const auto shards = formats::SafetensorsShards::open(folder, Mapping::kCopyOnWrite);
  fill_from_shards(*out.model, map, shards, dtype, concat('\'', folder.string(), '\''));
  out.model->eval();
  return out;
}

void write_hugging_face(FileSystem& files, const Path& folder, const torch::nn::Module& model,
                        const TensorMap& map, const Table& config,
                        const std::map<std::string, Fill>& others, uint64_t shard_bytes) {
  const Path target = (folder / "").parent_path(), parent = folder_of(target);  // also of "folder/"
  check(!files.exists(target) ||
            (files.kind(target) == FileKind::kFolder && files.list(target).empty()),
        kPlaceOfHuggingFace, "expected a new or empty folder at '", target.string(),
        "', found something there. Name another, or remove it.");
  const Parameters ours = tensors_of(model);
  const auto parameter = [&](size_t p) { return ours[p].tensor; };
  std::vector<formats::TensorSource> sources;
  for (const auto& tensor : map.tensors())
    sources.push_back({tensor.name, parameter(tensor.pieces.front().parameter).scalar_type(),
                       tensor.shape,
                       [&tensor, &parameter] { return to_foreign(tensor, parameter).detach(); }});
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
