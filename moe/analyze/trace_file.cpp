// T tokens, N pairs, K choices, U rows, E experts.
#include <algorithm>
#include <charconv>
#include <limits>
#include <set>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <moe/analyze/trace_file.h>
#include <moe/analyze/trace_names.h>
#include <moe/base/error.h>
#include <moe/data/bpe/bpe_tokenizer.h>
#include <moe/formats/strict_json.h>

namespace moe::analyze {

namespace {

constexpr const char* kPlaceOfTrace = "analyze/trace";
constexpr int64_t kMostExperts = int64_t{1} << 20;

/// An integer in [least, most] among the metadata.
int64_t integer_of(const formats::SafetensorsFile& file, const std::string& key, int64_t least,
                   int64_t most, const std::string& source) {
  const auto found = file.metadata().find(key);
  const std::string text = found == file.metadata().end() ? "" : found->second;
  int64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  check(!text.empty() && error == std::errc() && end == text.data() + text.size() && out >= least &&
            out <= most,
        kPlaceOfTrace, "expected an integer in [", least, ", ", most, "] as metadata '", key,
        "' of ", source, ", got ", text.empty() ? "none" : formats::in_quotes(text),
        ". Write the trace again with moe analyze RUN --trace.");
  return out;
}

std::string text_of(const formats::SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? "" : found->second;
}

[[noreturn]] void refuse(const std::string& source, const std::string& expected) {
  fail(kPlaceOfTrace, "expected ", expected, " in ", source,
       ", got something else. The file is damaged; write it again with moe analyze RUN --trace.");
}

/// The tensor `name`, which must have this type and shape (-1: any size).
Tensor typed(const formats::SafetensorsFile& file, const std::string& name, at::ScalarType type,
             const std::vector<int64_t>& shape, const std::string& source) {
  const Tensor out = file.tensor(name);
  bool fits = out.scalar_type() == type && out.dim() == static_cast<int64_t>(shape.size());
  for (size_t d = 0; fits && d < shape.size(); ++d)
    fits = shape[d] < 0 || out.size(static_cast<int64_t>(d)) == shape[d];
  check(fits, kPlaceOfTrace, "expected ", formats::in_quotes(name), " of ", source, " to be ",
        c10::toString(type), " of shape ", c10::IntArrayRef(shape), " (-1: any size), got ",
        c10::toString(out.scalar_type()), ' ', out.sizes(),
        ". Write the trace again with moe analyze RUN --trace.");
  return out;
}

template <class Number>
bool all_within(const Tensor& values, Number least, Number most) {
  const Number* begin = values.const_data_ptr<Number>();
  return std::all_of(begin, begin + values.numel(),
                     [&](Number value) { return value >= least && value <= most; });
}

/// Whether offsets rise from 0 to `last`.
bool rise_to(const Tensor& offsets, int64_t last) {
  const int64_t* begin = offsets.const_data_ptr<int64_t>();
  const int64_t* end = begin + offsets.numel();
  return begin != end && *begin == 0 && *(end - 1) == last && std::is_sorted(begin, end);
}

template <class Number>
std::vector<Number> copy_of(const Tensor& values, int64_t begin, int64_t end) {
  const Number* from = values.const_data_ptr<Number>();
  return std::vector<Number>(from + begin, from + end);
}

}  // namespace

void TraceFile::read_info(const formats::SafetensorsFile& file, const std::string& source) {
  check(text_of(file, trace::kFormat) == trace::kFormatName, kPlaceOfTrace, "expected ", source,
        " to be a routing trace (metadata format '", trace::kFormatName, "'), got ",
        formats::in_quotes(text_of(file, trace::kFormat)),
        ". Write one with moe analyze RUN --trace.");
  constexpr int64_t kLargest = std::numeric_limits<int32_t>::max(),
                    kLargestVocabulary = int64_t{1} << 24;
  const int64_t version = integer_of(file, trace::kVersion, 1, kLargest, source);
  check(version == trace::kCurrentVersion, kPlaceOfTrace, "expected version ",
        trace::kCurrentVersion, " of the format in ", source, ", got ", version,
        ". Use the moe that wrote it.");
  info_.sequence = integer_of(file, trace::kSequence, 1, kLargest, source);
  // Tables of experts and tokens have a number for each id.
  info_.vocabulary = integer_of(file, trace::kVocabulary, 1, kLargestVocabulary, source);
  info_.step = integer_of(file, trace::kStep, 0, std::numeric_limits<int64_t>::max(), source);
  info_.model = fit_to_show(text_of(file, trace::kModel));
  info_.checksum = text_of(file, trace::kChecksum);
  info_.tokenizer = text_of(file, trace::kTokenizer);
  const auto domains = static_cast<size_t>(
      integer_of(file, trace::kDomains, 1, static_cast<int64_t>(file.metadata().size()), source));
  for (size_t d = 0; d < domains; ++d) {
    check(file.metadata().contains(trace::domain_name(d)), kPlaceOfTrace,
          "expected the name of domain ", d, " of ", domains, " in ", source,
          ", got none. The file is damaged.");
    info_.domains.push_back(fit_to_show(text_of(file, trace::domain_name(d))));
  }
  if (file.contains(trace::kTokenizer)) {
    const Tensor bytes = typed(file, trace::kTokenizer, at::kByte, {-1}, source);
    info_.tokenizer_json.assign(reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()),
                                static_cast<size_t>(bytes.numel()));
  }
}

void TraceFile::read_tokens(const formats::SafetensorsFile& file, const std::string& source) {
  token_T_ = typed(file, trace::kTokenIds, at::kInt, {-1}, source);
  const int64_t T = token_T_.size(0);
  position_T_ = typed(file, trace::kPositions, at::kInt, {T}, source);
  counted_T_ = typed(file, trace::kCounted, at::kBool, {T}, source);
  row_domain_U_ = typed(file, trace::kRowDomains, at::kInt, {-1}, source);
  row_offset_U_ = typed(file, trace::kRowOffsets, at::kLong, {row_domain_U_.size(0) + 1}, source);
  if (!rise_to(row_offset_U_, T)) refuse(source, "row_offsets that rise from 0 to the tokens");
  if (!all_within<int32_t>(token_T_, 0, static_cast<int32_t>(info_.vocabulary - 1)))
    refuse(source, concat("token ids in [0, ", info_.vocabulary, ")"));
  if (!all_within<int32_t>(position_T_, 0, static_cast<int32_t>(info_.sequence - 1)))
    refuse(source, concat("positions in [0, ", info_.sequence, ")"));
  if (!all_within<int32_t>(row_domain_U_, 0, static_cast<int32_t>(info_.domains.size() - 1)))
    refuse(source, concat("row_domains in [0, ", info_.domains.size(), ")"));
}

TraceFile::Layer TraceFile::read_layer(const formats::SafetensorsFile& file,
                                       const std::string& source, int64_t number) const {
  const auto name = [&](const char* part) { return trace::layer_name(number, part); };
  const int64_t T = tokens();
  Layer out;
  out.layer = number;
  out.experts = integer_of(file, name(trace::kNumExperts), 1, kMostExperts, source);
  out.weight_on_input = text_of(file, name(trace::kWeightOnInput)) == "1";
  if (file.contains(name(trace::kOffsets))) {
    out.expert_N = typed(file, name(trace::kExperts), at::kInt, {-1}, source);
    out.offset_T = typed(file, name(trace::kOffsets), at::kLong, {T + 1}, source);
    if (!rise_to(out.offset_T, out.expert_N.size(0)))
      refuse(source, concat(name(trace::kOffsets), " that rise from 0 to the pairs"));
  } else {
    out.expert_N = typed(file, name(trace::kExperts), at::kInt, {T, -1}, source);
    out.choices = out.expert_N.size(1);
  }
  out.weight_N =
      typed(file, name(trace::kWeights), at::kFloat, out.expert_N.sizes().vec(), source).flatten();
  out.expert_N = out.expert_N.flatten();
  if (!all_within<int32_t>(out.expert_N, -1, static_cast<int32_t>(out.experts - 1)))
    refuse(source, concat(name(trace::kExperts), " in [-1, ", out.experts, ")"));
  if (file.contains(name(trace::kScoreEntropy)))
    out.score_entropy_T = typed(file, name(trace::kScoreEntropy), at::kFloat, {T}, source);
  if (file.contains(name(trace::kLogits)))
    out.logits_TE = typed(file, name(trace::kLogits), at::kFloat, {T, out.experts}, source);
  return out;
}

TraceFile TraceFile::open(const Path& path) {
  const auto file = formats::SafetensorsFile::open(path);
  const std::string source = concat('\'', path.string(), '\'');
  TraceFile out;
  out.source_ = source;
  out.read_info(file, source);
  out.read_tokens(file, source);

  std::set<std::string> known = {trace::kTokenIds,   trace::kPositions,  trace::kCounted,
                                 trace::kRowOffsets, trace::kRowDomains, trace::kTokenizer};
  std::set<int64_t> numbers;
  for (const auto& [key, value] : file.metadata()) {
    constexpr std::string_view kBegin = "layers.";
    const std::string end = std::string(".") + trace::kNumExperts;
    if (!key.starts_with(kBegin) || !key.ends_with(end) || key.size() <= kBegin.size() + end.size())
      continue;
    int64_t number = -1;
    std::from_chars(key.data() + kBegin.size(), key.data() + key.size() - end.size(), number);
    if (number < 0 || trace::layer_name(number, trace::kNumExperts) != key)
      refuse(source, concat("layers.I.num_experts instead of ", formats::in_quotes(key)));
    numbers.insert(number);
    for (const char* part :
         {trace::kExperts, trace::kWeights, trace::kOffsets, trace::kScoreEntropy, trace::kLogits})
      known.insert(trace::layer_name(number, part));
  }
  if (numbers.empty()) refuse(source, "layers.I.num_experts of at least one layer");
  std::vector<std::string> unknown;
  for (const auto& name : file.names())
    if (!known.contains(name)) unknown.push_back(formats::in_quotes(name));
  if (!unknown.empty())
    fail(kPlaceOfTrace, "expected the tensors of a routing trace in ", source, ", got ",
         unknown.size(),
         " unknown. Write it again with moe analyze RUN --trace:", indented_list(unknown));
  for (const int64_t number : numbers) out.layers_.push_back(out.read_layer(file, source, number));
  return out;
}

std::vector<int64_t> TraceFile::layers() const {
  std::vector<int64_t> out;
  for (const auto& layer : layers_) out.push_back(layer.layer);
  return out;
}

RoutedRows TraceFile::rows_between(int64_t first, int64_t last, bool logits) const {
  const int64_t* row_offset = row_offset_U_.const_data_ptr<int64_t>();
  const int64_t begin = row_offset[first], end = row_offset[last];
  RoutedRows out{.domain = row_domain_U_.const_data_ptr<int32_t>()[first],
                 .sequence = info_.sequence};
  for (int64_t u = first; u < last; ++u) out.row_begin_U.push_back(row_offset[u + 1] - begin);
  out.token_T = copy_of<int32_t>(token_T_, begin, end);
  out.position_T = copy_of<int32_t>(position_T_, begin, end);
  const bool* counted = counted_T_.const_data_ptr<bool>();
  out.counted_T.assign(counted + begin, counted + end);
  for (const auto& layer : layers_) {
    LayerPairs pairs{.layer = layer.layer, .experts = layer.experts};
    pairs.weight_on_input = layer.weight_on_input;
    const int64_t from = layer.begin(begin);
    for (int64_t t = begin; t <= end; ++t) pairs.offset_T.push_back(layer.begin(t) - from);
    pairs.expert_N = copy_of<int32_t>(layer.expert_N, from, layer.begin(end));
    pairs.weight_N = copy_of<float>(layer.weight_N, from, layer.begin(end));
    if (layer.score_entropy_T.defined())
      pairs.score_entropy_T = copy_of<float>(layer.score_entropy_T, begin, end);
    if (logits && layer.logits_TE.defined())
      pairs.logits_TE = copy_of<float>(layer.logits_TE, begin * layer.experts, end * layer.experts);
    out.layers.push_back(std::move(pairs));
  }
  return out;
}

void TraceFile::rows(const RowOptions& options, const TakeRows& take) const {
  options.validate();
  const int64_t U = row_domain_U_.size(0);
  const int32_t* domain = row_domain_U_.const_data_ptr<int32_t>();
  std::vector<int64_t> batches(info_.domains.size(), 0);
  for (int64_t first = 0; first < U;) {
    int64_t last = first + 1;
    while (last < U && last - first < options.batch && domain[last] == domain[first]) ++last;
    int64_t& taken = batches[static_cast<size_t>(domain[first])];
    if (options.max_batches < 0 || taken++ < options.max_batches)
      take(rows_between(first, last, options.logits));
    first = last;
  }
}

Routing TraceFile::routing(int64_t layer, const std::string& domain) const {
  const auto found =
      std::ranges::find_if(layers_, [&](const Layer& other) { return other.layer == layer; });
  check(found != layers_.end(), kPlaceOfTrace, "expected a layer with experts in ", source_,
        ", got ", layer, ". Choose one of those that moe analyze shows.");
  const auto name = std::ranges::find(info_.domains, domain);
  check(name != info_.domains.end(), kPlaceOfTrace, "expected one of the domains ",
        join(info_.domains), " of ", source_, ", got ", formats::in_quotes(domain), '.',
        did_you_mean(domain, info_.domains));
  const auto index = static_cast<int32_t>(name - info_.domains.begin());

  std::vector<Tensor> experts, weights, offsets = {at::zeros({1}, at::kLong)};
  int64_t pairs = 0;
  const int64_t* row_offset = row_offset_U_.const_data_ptr<int64_t>();
  for (int64_t u = 0; u < row_domain_U_.size(0); ++u) {
    if (row_domain_U_.const_data_ptr<int32_t>()[u] != index) continue;
    const int64_t first = found->begin(row_offset[u]), last = found->begin(row_offset[u + 1]);
    experts.push_back(found->expert_N.slice(0, first, last));
    weights.push_back(found->weight_N.slice(0, first, last));
    std::vector<int64_t> ends;
    for (int64_t t = row_offset[u]; t < row_offset[u + 1]; ++t)
      ends.push_back(pairs + found->begin(t + 1) - first);
    offsets.push_back(at::tensor(ends, at::kLong));
    pairs += last - first;
  }
  Routing out;
  out.num_experts = found->experts;
  out.offsets = at::cat(offsets);
  const Tensor expert_N =
      experts.empty() ? at::zeros({0}, at::kLong) : at::cat(experts).to(at::kLong);
  out.experts_N = at::where(expert_N.lt(0), found->experts, expert_N);
  out.weights_N = weights.empty() ? at::zeros({0}, at::kFloat) : at::cat(weights);
  out.choices = std::max<int64_t>(found->choices, 0);
  out.weight_on_input = found->weight_on_input;
  return out;
}

std::shared_ptr<const data::Tokenizer> TraceFile::tokenizer() const {
  if (info_.tokenizer_json.empty()) {
    check(info_.tokenizer == "byte", kPlaceOfTrace, "expected the tokenizer '", info_.tokenizer,
          "' in ", source_, ", got none. The file is damaged.");
    return data::make_tokenizer("byte");
  }
  return std::make_shared<data::BpeTokenizer>(
      data::parse_tokenizer_json(info_.tokenizer_json, concat("the tokenizer of ", source_)),
      info_.tokenizer);
}

}  // namespace moe::analyze
