#include <algorithm>

#include <moe/base/error.h>
#include <moe/formats/strict_json.h>
#include <moe/generation/generation_config.h>
#include <moe/models/companions.h>

namespace moe::generation {

namespace {

using nlohmann::json;

constexpr uint64_t kLargestGenerationConfig = 1u << 20;
/// As of every size in config.json: no vocabulary has more.
constexpr int64_t kLargestEndToken = int64_t{1} << 31;
constexpr const char* kEndTokens = "an id from 0 to 2^31 or a list of ids";

class GenerationConfigReader {
 public:
  GenerationConfigReader(const json& document, std::string source)
      : document_(document), source_(std::move(source)) {}

  std::optional<double> number(const char* key, double least, double most) const {
    const json& value = find(key);
    if (value.is_null()) return std::nullopt;
    const bool fits = value.is_number() && value >= least && value <= most;
    if (!fits) refuse(key, concat("a number in [", least, ", ", most, "]"));
    return value.get<double>();
  }
  std::optional<int64_t> whole(const char* key, int64_t least) const {
    const json& value = find(key);
    if (value.is_null()) return std::nullopt;
    const bool fits = value.is_number_integer() && value >= least && value <= (int64_t{1} << 31);
    if (!fits) refuse(key, concat("an integer of at least ", least));
    return value.get<int64_t>();
  }
  std::optional<bool> flag(const char* key) const {
    const json& value = find(key);
    if (value.is_null()) return std::nullopt;
    if (!value.is_boolean()) refuse(key, "true or false");
    return value.get<bool>();
  }
  /// One id or several.
  std::vector<int64_t> ids(const char* key) const {
    std::vector<int64_t> out;
    const json& value = find(key);
    const json list = value.is_null() ? json::array() : value.is_array() ? value : json{value};
    for (const auto& id : list) {
      // -1 stands for none. A number above 2^63 is of another type, which compares as negative.
      const bool fits = id.is_number_unsigned() ? id.get<uint64_t>() <= uint64_t{kLargestEndToken}
                                                : id.is_number_integer() && id.get<int64_t>() >= -1;
      if (!fits) refuse(key, kEndTokens);
      if (id.get<int64_t>() >= 0) out.push_back(id.get<int64_t>());
    }
    return out;
  }

 private:
  const json& find(const char* key) const {
    static const json kNull;
    const auto found = document_.find(key);
    return found == document_.end() ? kNull : *found;
  }
  [[noreturn]] void refuse(const char* key, std::string_view expected) const {
    fail("generation", "expected ", expected, " for ", key, " in ", source_, ", got ",
         find(key).dump().substr(0, 80), ". Correct the file.");
  }

  const json& document_;
  std::string source_;
};

}  // namespace

void GenerationConfig::apply(GenerateOptions& options,
                             const std::vector<std::string>& given) const {
  const auto is_given = [&](const char* name) { return std::ranges::count(given, name) > 0; };
  const auto set = [&](const char* name, auto& field, const auto& value) {
    if (value && !is_given(name)) field = *value;
  };
  set("temperature", options.temperature, temperature);
  const char* const of_draws[] = {"temperature", "top_k", "top_p", "min_p"};
  if (do_sample && !*do_sample && std::ranges::none_of(of_draws, is_given)) options.temperature = 0;
  set("top_k", options.top_k, top_k);
  set("top_p", options.top_p, top_p);
  set("min_p", options.min_p, min_p);
  set("repetition_penalty", options.repetition_penalty, repetition_penalty);
  set("max_tokens", options.max_tokens, max_tokens);
  options.end_tokens = end_tokens;
}

namespace {

/// Ids that config.json of the model's directory names; its checkpoints remember them.
std::vector<int64_t> end_tokens_of(const Path& folder) {
  std::vector<int64_t> out;
  const auto take = [&](const Value& id) {
    const auto* const number = id.as<int64_t>();
    check(number && *number >= -1 && *number <= kLargestEndToken, "generation", "expected ",
          kEndTokens, " for eos_token_id of the model in '", folder.string(), "', got ",
          id.text().substr(0, 80), ". Correct its config.json.");
    if (*number >= 0) out.push_back(*number);
  };
  const Table tokens = models::read_origin(folder).tokens;
  const Value* const named = tokens.find("eos_token_id");
  if (!named) return out;
  if (const auto* several = named->as<Array>())
    std::ranges::for_each(*several, take);
  else
    take(*named);
  return out;
}

}  // namespace

GenerationConfig parse_generation_config(std::string_view text, const std::string& source) {
  const json document = formats::parse_strict_json(text, "generation", source);
  const GenerationConfigReader in(document, source);
  return {.do_sample = in.flag("do_sample").value_or(false),
          .temperature = in.number("temperature", 0, 1e6),
          .top_p = in.number("top_p", 1e-9, 1),
          .min_p = in.number("min_p", 0, 1),
          .repetition_penalty = in.number("repetition_penalty", 1e-3, 1e3),
          .top_k = in.whole("top_k", 0),
          .max_tokens = in.whole("max_new_tokens", 1),
          .end_tokens = in.ids("eos_token_id")};
}

GenerationConfig read_generation_config(const Path& folder) {
  const Path path = folder / "generation_config.json";
  GenerationConfig out;
  if (real_files().exists(path))
    out = parse_generation_config(read_file(real_files(), path, kLargestGenerationConfig),
                                  concat('\'', path.string(), '\''));
  if (out.end_tokens.empty()) out.end_tokens = end_tokens_of(folder);
  return out;
}

}  // namespace moe::generation
