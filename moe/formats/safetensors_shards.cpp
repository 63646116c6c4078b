#include <algorithm>
#include <cstdio>

#include <c10/util/accumulate.h>

#include <moe/base/error.h>
#include <moe/formats/safetensors_shards.h>
#include <moe/formats/strict_json.h>
#include <moe/formats/vendor_layouts.h>

namespace moe::formats {

namespace {

constexpr const char* kPlaceOfShards = "formats/safetensors";
// An index of half a million tensors, more than any model has, takes less of both.
constexpr uint64_t kLargestIndex = uint64_t{64} << 20;
constexpr size_t kMostIndexValues = size_t{1} << 21;

/// Whether `name` names a file of the folder itself.
bool is_bare_name(const std::string& name) {
  return !name.empty() && name.find('/') == name.npos && name.find('\0') == name.npos &&
         name != "." && name != "..";
}

uint64_t bytes_of_source(const TensorSource& source) {
  return static_cast<uint64_t>(c10::multiply_integers(source.shape)) *
         c10::elementSize(source.dtype);
}

std::string shard_name(size_t number, size_t count) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", number, count);
  return name;
}

/// Runs of `tensors` that fit into a shard, each by its end.
std::vector<size_t> shard_ends(const std::vector<TensorSource>& tensors, uint64_t shard_bytes) {
  std::vector<size_t> ends;
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint64_t more = bytes_of_source(tensors[i]);
    if (bytes > 0 && bytes + more > shard_bytes) {
      ends.push_back(i);
      bytes = 0;
    }
    bytes += more;
  }
  ends.push_back(tensors.size());
  return ends;
}

[[noreturn]] void refuse_without_weights(const Path& folder) {
  const auto layout = unread_layout_in(folder);
  fail(kPlaceOfShards, "expected ", kSingleShard, " or ", kShardIndex, " in '", folder.string(),
       "', found ", layout ? layout->found : "neither", ". ",
       layout ? layout->remedy : "Fetch the model's weights in the safetensors format.");
}

// What other programs look for before they read a file.
const std::map<std::string, std::string> kMetadata = {{"format", "pt"}};

}  // namespace

std::map<std::string, std::string> parse_shard_index(std::string_view text,
                                                     const std::string& source) {
  const auto index =
      parse_strict_json(text, kPlaceOfShards, source, {.depth = 4, .values = kMostIndexValues});
  const auto map = index.find("weight_map");
  check(map != index.end() && map->is_object() && !map->empty(), kPlaceOfShards,
        "expected the object 'weight_map' (tensor name -> file name) in ", source, ", found ",
        map == index.end() ? "none"
        : map->is_object() ? "an empty one"
                           : map->type_name(),
        ". The file is damaged; fetch it again.");
  std::map<std::string, std::string> out;
  for (const auto& [name, file] : map->items()) {
    check(file.is_string() && is_bare_name(file.get_ref<const std::string&>()), kPlaceOfShards,
          "expected the name of a file beside the index for tensor ", in_quotes(name), " in ",
          source, ", got ", in_quotes(file.dump()), ". The file is damaged or hostile.");
    out[name] = file.get<std::string>();
  }
  return out;
}

SafetensorsShards SafetensorsShards::open(const Path& folder, Mapping mapping) {
  auto& files = real_files();
  SafetensorsShards out;
  const auto take = [&](const std::string& file) {
    out.files_.push_back(SafetensorsFile::open(folder / file, mapping));
    for (auto& name : out.files_.back().names()) {
      if (!out.where_.emplace(name, out.files_.size() - 1).second)
        fail(kPlaceOfShards, "expected every tensor in one shard of '", folder.string(), "', got ",
             in_quotes(name), " in two. Write the folder again.");
      out.names_.push_back(std::move(name));
    }
  };
  if (files.exists(folder / kSingleShard)) {
    take(kSingleShard);
    return out;
  }
  if (!files.exists(folder / kShardIndex)) refuse_without_weights(folder);
  const auto index = parse_shard_index(read_file(files, folder / kShardIndex, kLargestIndex),
                                       concat('\'', (folder / kShardIndex).string(), '\''));
  std::vector<std::string> order;
  for (const auto& [name, file] : index) order.push_back(file);
  std::ranges::sort(order);
  order.erase(std::ranges::unique(order).begin(), order.end());
  std::vector<std::string> wrong;
  for (const auto& file : order)
    if (!files.exists(folder / file)) wrong.push_back((folder / file).string());
  if (!wrong.empty())
    fail(kPlaceOfShards, "expected the ", order.size(), " shards that ", kShardIndex,
         " names beside it, found ", wrong.size(), " missing. Fetch them too.",
         indented_list(wrong));
  for (const auto& file : order) take(file);

  for (const auto& [name, file] : index) {
    const auto found = out.where_.find(name);
    if (found == out.where_.end())
      wrong.push_back(concat(in_quotes(name), " is in no shard; the index says ", in_quotes(file)));
    else if (order[found->second] != file)
      wrong.push_back(concat(in_quotes(name), " is in ", in_quotes(order[found->second]),
                             "; the index says ", in_quotes(file)));
  }
  for (const auto& name : out.names_)
    if (!index.contains(name))
      wrong.push_back(concat(in_quotes(name), " is in ", in_quotes(order[out.where_.at(name)]),
                             "; the index names it not"));
  if (!wrong.empty())
    fail(kPlaceOfShards, "expected the tensors that ", kShardIndex, " names in the shards of '",
         folder.string(), "', got ", wrong.size(),
         " that differ. Fetch the index and the shards of one version.", indented_list(wrong));
  return out;
}

const SafetensorsFile& SafetensorsShards::file(std::string_view name) const {
  const auto found = where_.find(name);
  if (found == where_.end())
    fail(kPlaceOfShards, "expected a tensor ", in_quotes(name), ", got none among ", names_.size(),
         '.', did_you_mean(name, names_));
  return files_[found->second];
}

uint64_t SafetensorsShards::bytes() const {
  uint64_t out = 0;
  for (const auto& [name, file] : where_) {
    const auto& tensor = files_[file].info(name);
    out += tensor.end - tensor.begin;
  }
  return out;
}

void write_shards(FileSystem& files, const Path& folder, const std::vector<TensorSource>& tensors,
                  uint64_t shard_bytes) {
  const auto ends = shard_ends(tensors, shard_bytes);
  if (ends.size() == 1)
    return write_file_atomically(files, folder / kSingleShard, [&](OutputFile& out) {
      write_safetensors(out, tensors, kMetadata);
    });
  nlohmann::json weight_map = nlohmann::json::object();
  uint64_t bytes = 0, numbers = 0;
  size_t begin = 0;
  for (size_t i = 0; i < ends.size(); ++i) {
    const std::vector<TensorSource> shard(tensors.begin() + static_cast<std::ptrdiff_t>(begin),
                                          tensors.begin() + static_cast<std::ptrdiff_t>(ends[i]));
    const auto name = shard_name(i + 1, ends.size());
    write_file_atomically(files, folder / name,
                          [&](OutputFile& out) { write_safetensors(out, shard, kMetadata); });
    for (const auto& tensor : shard) {
      weight_map[tensor.name] = name;
      bytes += bytes_of_source(tensor);
      numbers += static_cast<uint64_t>(c10::multiply_integers(tensor.shape));
    }
    begin = ends[i];
  }
  const nlohmann::json index = {
      {"metadata", {{"total_parameters", numbers}, {"total_size", bytes}}},
      {"weight_map", std::move(weight_map)}};
  write_file_atomically(files, folder / kShardIndex,
                        [&](OutputFile& out) { out.write(bytes_of(index.dump(2) + '\n')); });
}

}  // namespace moe::formats
