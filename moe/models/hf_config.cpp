#include <algorithm>

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
                                                   "add_cross_attention",
                                                   "architectures",
                                                   "attn_implementation",
                                                   "auto_map",
                                                   "bad_words_ids",
                                                   "begin_suppress_tokens",
                                                   "bos_token_id",
                                                   "cache_implementation",
                                                   "chunk_size_feed_forward",
                                                   "cross_attention_hidden_size",
                                                   "decoder_start_token_id",
                                                   "diversity_penalty",
                                                   "do_sample",
                                                   "dtype",
                                                   "early_stopping",
                                                   "encoder_no_repeat_ngram_size",
                                                   "eos_token_id",
                                                   "exponential_decay_length_penalty",
                                                   "finetuning_task",
                                                   "forced_bos_token_id",
                                                   "forced_eos_token_id",
                                                   "id2label*",
                                                   "initializer_range",
                                                   "is_decoder",
                                                   "is_encoder_decoder",
                                                   "label2id*",
                                                   "length_penalty",
                                                   "max_length",
                                                   "min_length",
                                                   "model_type",
                                                   "no_repeat_ngram_size",
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
                                                   "pruned_heads*",
                                                   "quantization_config*",
                                                   "remove_invalid_values",
                                                   "repetition_penalty",
                                                   "return_dict",
                                                   "return_dict_in_generate",
                                                   "sep_token_id",
                                                   "suppress_tokens",
                                                   "task_specific_params*",
                                                   "temperature",
                                                   "tf_legacy_loss",
                                                   "tie_encoder_decoder",
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

bool is_count(const Value& value) {
  const auto* number = value.as<int64_t>();
  return number && *number >= 0 && *number <= kLargestHfSize;
}

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

bool HfConfig::names(std::string_view key) const {
  find(key);
  return settings_->find(key) != nullptr;
}

int64_t HfConfig::size(std::string_view key) const {
  constexpr const char* kWhat = "a whole number from 1 to 2^31";
  const Value& value = need(key, kWhat);
  if (!is_count(value) || *value.as<int64_t>() == 0) wrong(key, kWhat, value);
  return *value.as<int64_t>();
}

int64_t HfConfig::count(std::string_view key, int64_t fallback) const {
  const Value* value = find(key);
  if (!value) return fallback;
  if (!is_count(*value)) wrong(key, "a whole number from 0 to 2^31", *value);
  return *value->as<int64_t>();
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

const Array* HfConfig::list(std::string_view key, int64_t layers) const {
  const Value* value = find(key);
  if (!value) return nullptr;
  const auto* out = value->as<Array>();
  if (!out) wrong(key, "a list", *value);
  check(static_cast<int64_t>(out->size()) == layers, kPlaceOfHfConfig, "expected ", layers,
        " entries, one a layer, at ", shown(key), ", got ", out->size(), ". Correct the file.");
  return out;
}

std::vector<int64_t> HfConfig::counts(std::string_view key, int64_t layers) const {
  std::vector<int64_t> out;
  const Array* entries = list(key, layers);
  if (!entries) return out;
  for (const auto& entry : *entries) {
    if (!is_count(entry)) wrong(key, "whole numbers from 0 to 2^31", entry);
    out.push_back(*entry.as<int64_t>());
  }
  return out;
}

std::vector<int64_t> HfConfig::indices(std::string_view key) const {
  constexpr const char* kWhat = "a list of whole numbers from 0 to 2^31";
  std::vector<int64_t> out;
  const Value* value = find(key);
  if (!value) return out;
  const auto* entries = value->as<Array>();
  if (!entries) wrong(key, kWhat, *value);
  for (const auto& entry : *entries) {
    if (!is_count(entry)) wrong(key, kWhat, entry);
    out.push_back(*entry.as<int64_t>());
  }
  return out;
}

std::vector<std::string> HfConfig::texts(std::string_view key, int64_t layers,
                                         const std::vector<std::string>& known) const {
  std::vector<std::string> out;
  const Array* entries = list(key, layers);
  if (!entries) return out;
  for (const auto& entry : *entries) {
    const auto* text = entry.as<std::string>();
    if (!text || std::ranges::count(known, *text) == 0)
      wrong(key, join(known, " or ").c_str(), entry);
    out.push_back(*text);
  }
  return out;
}

HfConfig HfConfig::inside(std::string_view key) const {
  HfConfig out = *this;
  out.prefix_ = concat(prefix_, key, '.');
  const Value* value = find(key);
  if (value && !value->as<Table>()) wrong(key, "a table", *value);
  out.settings_ = std::make_shared<const Table>(value ? *value->as<Table>() : Table());
  out.ignore(kOfNoConsequence);  // transformers writes them into every table
  return out;
}

HfConfig HfConfig::text_part() const {
  if (!is_multimodal()) return *this;
  constexpr const char* kText = "text_config";
  Table settings = inside(kText).settings();
  constexpr const char* kTied = "tie_word_embeddings";
  if (const Value* tied = find(kTied)) settings.set(kTied, *tied);
  return {std::move(settings), concat(kText, " of ", source_)};
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

}  // namespace moe::models
