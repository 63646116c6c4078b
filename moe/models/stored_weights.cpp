#include <moe/base/error.h>
#include <moe/formats/strict_json.h>
#include <moe/models/stored_weights.h>

namespace moe::models {

namespace {

using formats::in_quotes;

constexpr const char* kPlaceOfWeights = "models/stored_weights";
constexpr const char* kQuantisation = "quantization_config";
constexpr std::string_view kScales = "_scale_inv", kBlocks = "_blocks", kBlockScales = "_scales";

/// What quantization_config says of how weights are stored.
struct Quantisation {
  enum class Method { kNone, kFloat8, kMxfp4 };

  Method method = Method::kNone;
  formats::BlockSize block = {};  // zeros: one scale for a whole tensor
};

/// quantization_config.weight_block_size.
formats::BlockSize block_size_of(const HfConfig& q) {
  constexpr const char* kKey = "weight_block_size";
  if (!q.has(kKey)) return {};
  const auto* const list = q.settings().find(kKey)->as<Array>();
  formats::BlockSize out = {};
  bool fits = list && list->size() == out.size();
  for (size_t i = 0; fits && i < out.size(); ++i) {
    const auto* const size = (*list)[i].as<int64_t>();
    fits = size && *size >= 1 && *size <= int64_t{1} << 31;
    if (fits) out[i] = *size;
  }
  check(fits, kPlaceOfWeights, "expected two whole numbers from 1 on at '", kKey, "' in ",
        q.source(), ", got ", q.settings().find(kKey)->text().substr(0, 80), ". Correct the file.");
  return out;
}

Quantisation read_quantisation(const HfConfig& config) {
  const HfConfig text = config.text_part();
  const HfConfig& holder = config.has(kQuantisation) ? config : text;
  if (!holder.has(kQuantisation)) return {};
  const HfConfig q(holder.inside(kQuantisation).settings(),
                   concat(kQuantisation, " of ", holder.source()));
  const std::string method = q.text("quant_method");
  check(method == "fp8" || method == "mxfp4", kPlaceOfWeights,
        "expected weights that are plain or quantised as fp8 or mxfp4, got '", method, "' in ",
        q.source(), ", which is not read yet. Fetch the model in bfloat16, or convert it to that.");
  // Which tensors are quantised shows in the tensors themselves; how activations were is another
  // arithmetic than ours.
  q.ignore({"modules_to_not_convert", "ignored_layers", "dequantize"});
  Quantisation out;
  if (method == "fp8") {
    q.ignore({"scale_fmt"});  // how the scales were rounded
    q.only("fmt", {"e4m3", "e5m2"}, "another float8");
    q.only("activation_scheme", {"dynamic", "static"}, "another arithmetic");
    out.method = Quantisation::Method::kFloat8;
    out.block = block_size_of(q);
  } else {
    out.method = Quantisation::Method::kMxfp4;
  }
  q.refuse_unread();
  return out;
}

bool is_float8(at::ScalarType type) {
  return type == at::kFloat8_e4m3fn || type == at::kFloat8_e5m2;
}

/// `name` without `ending`; nothing for names that end otherwise.
std::optional<std::string> without_ending(const std::string& name, std::string_view ending) {
  if (!name.ends_with(ending)) return std::nullopt;
  return name.substr(0, name.size() - ending.size());
}

int64_t numbers_of_row(const std::vector<int64_t>& shape) {
  return shape.empty() ? 1 : c10::multiply_integers(shape.begin() + 1, shape.end());
}

/// Rows [first, first + count) of a tensor as it is stored.
Tensor rows_of(const formats::SafetensorsShards& shards, const std::string& name, int64_t first,
               int64_t count) {
  auto shape = shards.info(name).shape;
  const int64_t numbers = numbers_of_row(shape);
  if (!shape.empty()) shape[0] = count;
  return shards.part(name, first * numbers, count * numbers).view(shape);
}

}  // namespace

bool is_plain(at::ScalarType type) {
  return type == at::kFloat || type == at::kBFloat16 || type == at::kHalf || type == at::kDouble;
}

std::set<std::string> StoredWeights::take_float8(std::vector<std::string>& wrong) {
  std::set<std::string> hidden;
  for (const auto& name : shards_.names()) {
    if (name.ends_with("activation_scale") || name.ends_with(".input_scale")) hidden.insert(name);
    const auto weight = without_ending(name, kScales);
    if (!weight) continue;
    hidden.insert(name);
    if (!shards_.contains(*weight) || !is_float8(shards_.info(*weight).dtype)) {
      wrong.push_back(concat(in_quotes(name), " has no float8 weight ", in_quotes(*weight)));
      continue;
    }
    const auto &values = shards_.info(*weight).shape, &scales = shards_.info(name).shape;
    const bool one = block_[0] == 0;
    const auto expected =
        one || values.size() < 2 ? std::vector<int64_t>{} : formats::scale_shape(values, block_);
    const bool fits =
        values.size() >= 2 && (one ? c10::multiply_integers(scales) == 1 : scales == expected);
    if (!fits)
      wrong.push_back(concat(in_quotes(name), " has the shape ", c10::IntArrayRef(scales),
                             " instead of ", c10::IntArrayRef(expected), " for weights ",
                             c10::IntArrayRef(values)));
    quantised_[*weight] = {*weight, name, /*is_float8=*/true};
  }
  for (const auto& name : shards_.names())
    if (is_float8(shards_.info(name).dtype) && !quantised_.contains(name))
      wrong.push_back(concat(in_quotes(name), " has no scales ", in_quotes(name + "_scale_inv")));
  return hidden;
}

std::set<std::string> StoredWeights::take_mxfp4(std::vector<std::string>& wrong) {
  std::set<std::string> hidden;
  for (const auto& name : shards_.names()) {
    if (const auto base = without_ending(name, kBlockScales)) {
      hidden.insert(name);
      if (!shards_.contains(*base + std::string(kBlocks)))
        wrong.push_back(concat(in_quotes(name), " has no blocks beside it"));
      continue;
    }
    const auto base = without_ending(name, kBlocks);
    if (!base) continue;
    hidden.insert(name);
    const std::string scales = *base + std::string(kBlockScales);
    if (!shards_.contains(scales)) {
      wrong.push_back(concat(in_quotes(name), " has no scales ", in_quotes(scales)));
      continue;
    }
    const auto &values = shards_.info(name), &exponents = shards_.info(scales);
    const bool fits = values.dtype == at::kByte && exponents.dtype == at::kByte &&
                      values.shape.size() >= 3 &&
                      std::equal(values.shape.begin(), values.shape.end() - 1,
                                 exponents.shape.begin(), exponents.shape.end());
    if (!fits)
      wrong.push_back(concat(in_quotes(name), ' ', c10::toString(values.dtype), ' ',
                             c10::IntArrayRef(values.shape), " does not fit its scales ",
                             c10::toString(exponents.dtype), ' ',
                             c10::IntArrayRef(exponents.shape)));
    quantised_[*base] = {name, scales, /*is_float8=*/false};
  }
  return hidden;
}

StoredWeights StoredWeights::open(const Path& folder, const HfConfig& config, Mapping mapping) {
  const auto quantisation = read_quantisation(config);
  StoredWeights out(formats::SafetensorsShards::open(folder, mapping));
  out.block_ = quantisation.block;
  std::vector<std::string> wrong;
  std::set<std::string> hidden;
  if (quantisation.method == Quantisation::Method::kNone)
    for (const auto& name : out.shards_.names())
      check(!is_float8(out.shards_.info(name).dtype), kPlaceOfWeights,
            "expected a quantization_config in ", config.source(), " that tells the scales of ",
            in_quotes(name), ", which is float8, found none. Fetch config.json again.");
  if (quantisation.method == Quantisation::Method::kFloat8) hidden = out.take_float8(wrong);
  if (quantisation.method == Quantisation::Method::kMxfp4) hidden = out.take_mxfp4(wrong);
  if (!wrong.empty())
    fail(kPlaceOfWeights, "expected quantised weights with their scales in '", folder.string(),
         "', got ", wrong.size(), " that do not fit. Fetch the folder again.",
         indented_list(wrong));
  for (const auto& name : out.shards_.names()) {
    const auto blocks = without_ending(name, kBlocks);
    if (blocks && out.quantised_.contains(*blocks)) {
      check(!out.shards_.contains(*blocks), kPlaceOfWeights, "expected ", in_quotes(*blocks),
            " plain or quantised in '", folder.string(), "', got both. Fetch the folder again.");
      auto shape = out.shards_.info(name).shape;
      const int64_t inputs = shape[shape.size() - 2] * shape.back() * 2;
      shape.resize(shape.size() - 2);
      shape.insert(shape.end() - 1, inputs);
      out.names_.push_back(*blocks);
      out.shapes_[*blocks] = std::move(shape);
    } else if (!hidden.contains(name)) {
      out.names_.push_back(name);
      out.shapes_[name] = out.shards_.info(name).shape;
    }
  }
  return out;
}

std::optional<at::ScalarType> StoredWeights::dtype(const std::string& name) const {
  if (quantised_.contains(name)) return std::nullopt;
  return shards_.info(name).dtype;
}

Tensor StoredWeights::tensor(const std::string& name, at::ScalarType dtype) const {
  if (!quantised_.contains(name)) return shards_.tensor(name);
  return rows(name, dtype, 0, shapes_.at(name)[0]);
}

Tensor StoredWeights::rows(const std::string& name, at::ScalarType dtype, int64_t first,
                           int64_t count) const {
  const auto found = quantised_.find(name);
  if (found == quantised_.end()) return rows_of(shards_, name, first, count);
  const auto& [values, scales, is_float8] = found->second;
  const Tensor x = rows_of(shards_, values, first, count);
  if (!is_float8)
    return formats::widen_mxfp4(x, rows_of(shards_, scales, first, count), dtype).transpose(-1, -2);
  // One scale for all is one block of any size.
  const bool one = block_[0] == 0;
  return formats::widen_float8(
      x, scales_of_rows(found->second, first, count),
      one ? formats::BlockSize{int64_t{1} << 31, int64_t{1} << 31} : block_, dtype);
}

Tensor StoredWeights::scales_of_rows(const Quantised& tensor, int64_t first, int64_t count) const {
  if (block_[0] == 0) return shards_.tensor(tensor.scales);
  if (shards_.info(tensor.values).shape.size() > 2)
    return rows_of(shards_, tensor.scales, first, count);
  const int64_t blocks = (count + block_[0] - 1) / block_[0];
  check(first % block_[0] == 0, kPlaceOfWeights, "expected rows of ", in_quotes(tensor.values),
        " from a multiple of ", block_[0], " on, got ", first, '.');
  return rows_of(shards_, tensor.scales, first / block_[0], blocks);
}

int64_t StoredWeights::rows_at_once(const std::string& name) const {
  const auto found = quantised_.find(name);
  const bool by_block = found != quantised_.end() && found->second.is_float8 && block_[0] > 0 &&
                        shapes_.at(name).size() == 2;
  return by_block ? block_[0] : 1;
}

bool StoredWeights::gives_view(const std::string& name) const {
  return !quantised_.contains(name) && shards_.gives_view(name);
}

const std::string& StoredWeights::values_of(const std::string& name) const {
  const auto found = quantised_.find(name);
  return found == quantised_.end() ? name : found->second.values;
}

void StoredWeights::release_rows(const std::string& name, int64_t first, int64_t count) const {
  const auto& values = values_of(name);
  const int64_t numbers = numbers_of_row(shards_.info(values).shape);
  shards_.release(values, first * numbers, count * numbers);
}

void StoredWeights::release(const std::string& name) const {
  const auto found = quantised_.find(name);
  if (found == quantised_.end()) return shards_.release(name);
  shards_.release(found->second.values);
  shards_.release(found->second.scales);
}

}  // namespace moe::models
