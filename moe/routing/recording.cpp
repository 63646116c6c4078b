// T tokens, N pairs, E experts.
#include <charconv>

#include <moe/formats/safetensors.h>
#include <moe/routing/replay.h>

namespace moe::routing {

namespace {

int64_t number_of(const formats::SafetensorsFile& file, const std::string& key, const Path& path) {
  const auto found = file.metadata().find(key);
  int64_t number = 0;
  const bool parsed = found != file.metadata().end() && [&, &text = found->second] {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size();
  }();
  check(parsed, "routing/replay", "expected an integer as metadata '", key, "' of ", path.string(),
        ", got ", found == file.metadata().end() ? "none" : "'" + found->second + "'",
        ". Write it with write_recording.");
  return number;
}

}  // namespace

Routing recorded(const Routing& routing) {
  Routing out;
  out.num_experts = routing.num_experts;
  out.offsets = routing.offsets;
  out.experts_N = routing.experts_N;
  out.weights_N = routing.weights_N.detach();
  out.choices = routing.choices;
  out.first_token = routing.first_token;
  out.weight_on_input = routing.weight_on_input;
  return out;
}

void write_recording(FileSystem& files, const Path& path, const Routing& recording) {
  formats::write_safetensors(files, path,
                             {{"offsets", recording.offsets},
                              {"experts", recording.experts_N},
                              {"weights", recording.weights_N.detach()}},
                             {{"num_experts", std::to_string(recording.num_experts)},
                              {"choices", std::to_string(recording.choices)},
                              {"first_token", std::to_string(recording.first_token)},
                              {"weight_on_input", recording.weight_on_input ? "1" : "0"}});
}

Routing read_recording(const Path& path) {
  const auto file = formats::SafetensorsFile::open(path);
  Routing out;
  out.offsets = file.tensor("offsets").clone();
  out.experts_N = file.tensor("experts").clone();
  out.weights_N = file.tensor("weights").clone();
  out.num_experts = number_of(file, "num_experts", path);
  out.choices = number_of(file, "choices", path);
  out.first_token = number_of(file, "first_token", path);
  out.weight_on_input = number_of(file, "weight_on_input", path) != 0;
  return out;
}

}  // namespace moe::routing
