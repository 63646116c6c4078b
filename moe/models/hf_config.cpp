#include <algorithm>
#include <cmath>

#include <moe/base/error.h>
#include <moe/base/glob.h>
#include <moe/formats/json_table.h>
#include <moe/models/hf_config.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfHfConfig = "models/config.json";
constexpr uint64_t kLargestHfConfig = uint64_t{16} << 20;
/// The largest of any size: products of a few of them still fit into an int64.
constexpr int64_t kLargestHfSize = int64_t{1} << 31;

/// What every configuration may hold beside the model: who wrote it, how it was trained, how text
/// is generated, how results are handed out.
const std::vector<std::string> kOfNoConsequence = {"_attn_implementation*",
                                                   "_name_or_path",
                                                   "architectures",
                                                   "attn_implementation",
                                                   "auto_map",
                                                   "begin_suppress_tokens",
                                                   "bos_token_id",
                                                   "chunk_size_feed_forward",
                                                   "diversity_penalty",
                                                   "do_sample",
                                                   "dtype",
                                                   "early_stopping",
                                                   "eos_token_id",
                                                   "finetuning_task",
                                                   "forced_bos_token_id",
                                                   "forced_eos_token_id",
                                                   "id2label*",
                                                   "initializer_range",
                                                   "is_decoder",
                                                   "label2id*",
                                                   "length_penalty",
                                                   "max_length",
                                                   "min_length",
                                                   "model_type",
                                                   "num_beam_groups",
                                                   "num_beams",
                                                   "num_return_sequences",
                                                   "output_attentions",
                                                   "output_hidden_states",
                                                   "output_router_logits",
                                                   "output_scores",
                                                   "pad_token_id",
                                                   "prefix",
                                                   "problem_type",
                                                   "repetition_penalty",
                                                   "return_dict",
                                                   "return_dict_in_generate",
                                                   "sep_token_id",
                                                   "suppress_tokens",
                                                   "task_specific_params*",
                                                   "temperature",
                                                   "tokenizer_class",
                                                   "top_k",
                                                   "top_p",
                                                   "torch_dtype",
                                                   "torchscript",
                                                   "transformers_version",
                                                   "typical_p",
                                                   "unsloth_*",
                                                   "use_bfloat16",
                                                   "use_cache"};

bool same_value(const Value& a, const Value& b) {
  const auto *x = a.as<double>(), *y = b.as<double>();
  const auto *i = a.as<int64_t>(), *j = b.as<int64_t>();
  if ((x || i) && (y || j))
    return (x ? *x : static_cast<double>(*i)) == (y ? *y : static_cast<double>(*j));
  return a.text() == b.text();
}

}  // namespace

HfConfig::HfConfig(Table settings, std::string source)
    : settings_(std::make_shared<const Table>(std::move(settings))),
      source_(std::move(source)),
      read_(std::make_shared<std::set<std::string, std::less<>>>()) {
  ignore(kOfNoConsequence);
}

HfConfig HfConfig::read(const Path& folder) {
  const Path path = folder / kHfConfigName;
  std::string source = concat('\'', path.string(), '\'');
  auto settings = formats::parse_json_table(read_file(real_files(), path, kLargestHfConfig),
                                            kPlaceOfHfConfig, source);
  return {std::move(settings), std::move(source)};
}

std::string HfConfig::shown(std::string_view key) const {
  return concat('\'', prefix_, key, "' in ", source_);
}

const Value* HfConfig::find(std::string_view key) const {
  read_->insert(prefix_ + std::string(key));
  const Value* value = settings_->find(key);
  return value && !value->empty() ? value : nullptr;
}

const Value& HfConfig::need(std::string_view key, const char* what) const {
  const Value* value = find(key);
  if (!value)
    fail(kPlaceOfHfConfig, "expected ", what, " at ", shown(key), ", found none. Add it.");
  return *value;
}

void HfConfig::wrong(std::string_view key, const char* expected, const Value& value) const {
  fail(kPlaceOfHfConfig, "expected ", expected, " at ", shown(key), ", got ",
       value.text().substr(0, 80), ". Correct the file.");
}

bool HfConfig::has(std::string_view key) const {
  return find(key) != nullptr;
}

int64_t HfConfig::size(std::string_view key) const {
  constexpr const char* kWhat = "a whole number from 1 to 2^31";
  const Value& value = need(key, kWhat);
  const auto* number = value.as<int64_t>();
  if (!number || *number < 1 || *number > kLargestHfSize) wrong(key, kWhat, value);
  return *number;
}

int64_t HfConfig::size(std::string_view key, int64_t fallback) const {
  return has(key) ? size(key) : fallback;
}

double HfConfig::number(std::string_view key) const {
  constexpr const char* kWhat = "a number";
  const Value& value = need(key, kWhat);
  if (const auto* whole = value.as<int64_t>()) return static_cast<double>(*whole);
  const auto* number = value.as<double>();
  if (!number) wrong(key, kWhat, value);
  return *number;
}

double HfConfig::number(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

bool HfConfig::flag(std::string_view key, bool fallback) const {
  const Value* value = find(key);
  if (!value) return fallback;
  if (!value->as<bool>()) wrong(key, "true or false", *value);
  return *value->as<bool>();
}

std::string HfConfig::text(std::string_view key) const {
  constexpr const char* kWhat = "a string";
  const Value& value = need(key, kWhat);
  if (!value.as<std::string>()) wrong(key, kWhat, value);
  return *value.as<std::string>();
}

std::string HfConfig::text(std::string_view key, std::string_view fallback) const {
  return has(key) ? text(key) : std::string(fallback);
}

HfConfig HfConfig::inside(std::string_view key) const {
  HfConfig out = *this;
  out.prefix_ = concat(prefix_, key, '.');
  const Value* value = find(key);
  if (value && !value->as<Table>()) wrong(key, "a table", *value);
  out.settings_ = std::make_shared<const Table>(value ? *value->as<Table>() : Table());
  return out;
}

void HfConfig::ignore(const std::vector<std::string>& keys) const {
  for (const auto& key : keys) read_->insert(prefix_ + key);
}

void HfConfig::only(std::string_view key, const std::vector<Value>& values,
                    std::string_view reason) const {
  const Value* value = find(key);
  if (!value ||
      std::ranges::any_of(values, [&](const Value& known) { return same_value(known, *value); }))
    return;
  std::vector<std::string> known;
  for (const auto& one : values) known.push_back(one.text());
  fail(kPlaceOfHfConfig, "expected ", join(known, " or "), " at ", shown(key), ", got ",
       value->text().substr(0, 80), ", which is not there yet: ", reason, '.');
}

void HfConfig::collect_unread(std::vector<std::string>& out) const {
  for (const auto& [key, value] : *settings_) {
    if (value.empty()) continue;
    const std::string name = prefix_ + key;
    const auto knows = [&](const std::string& pattern) { return glob_match(pattern, name); };
    const auto* table = value.as<Table>();
    if (!std::ranges::any_of(*read_, knows)) {
      out.push_back(concat('\'', name, "' = ", value.text().substr(0, 80)));
    } else if (table && std::ranges::any_of(*read_, [&](const auto& other) {
                 return other.starts_with(name + '.');
               })) {
      inside(key).collect_unread(out);
    }
  }
}

void HfConfig::refuse_unread() const {
  std::vector<std::string> unread;
  collect_unread(unread);
  if (!unread.empty())
    fail(kPlaceOfHfConfig, "expected only keys that this version knows in ", source_, ", got ",
         unread.size(),
         " unknown, which could change what the model computes. Remove a key if you know that it "
         "does not.",
         indented_list(unread));
}

namespace {

/// Theirs and ours; of several that are ours the first is written.
const std::vector<std::pair<std::string, std::string>> kActivations = {
    {"silu", "silu"},          {"swish", "silu"},
    {"gelu", "gelu"},          {"gelu_pytorch_tanh", "gelu_tanh"},
    {"gelu_new", "gelu_tanh"}, {"relu", "relu"},
    {"relu2", "relu_squared"}};

}  // namespace

std::string activation_of(const HfConfig& config, std::string_view key) {
  const auto theirs = config.text(key, "silu");
  std::vector<Value> known;
  for (const auto& [name, ours] : kActivations) {
    if (name == theirs) return ours;
    known.emplace_back(name);
  }
  config.only(key, known, "another activation");
  return "";
}

std::string hf_activation(const std::string& ours) {
  if (ours.empty()) return "silu";
  for (const auto& [theirs, name] : kActivations)
    if (name == ours) return theirs;
  fail(kPlaceOfHfConfig, "expected an activation that config.json knows, got '", ours,
       "'. Keep the native form.");
}

double rope_theta_of(const HfConfig& config, double fallback) {
  constexpr std::string_view kReason = "positions that are scaled to longer contexts";
  double theta = config.number("rope_theta", fallback);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!config.has(key)) continue;
    const HfConfig rope = config.inside(key);
    for (const char* type : {"rope_type", "type"}) rope.only(type, {"default"}, kReason);
    theta = rope.number("rope_theta", theta);
  }
  check(std::isfinite(theta) && theta > 0, kPlaceOfHfConfig, "expected a positive rope_theta in ",
        config.source(), ", got ", theta, ". Correct the file.");
  return theta;
}

}  // namespace moe::models
