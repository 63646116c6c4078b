// T tokens, N pairs, K choices, U rows, E experts.
#include <utility>

#include <ATen/ops/from_blob.h>

#include <moe/analyze/trace_names.h>
#include <moe/analyze/trace_writer.h>
#include <moe/base/error.h>

namespace moe::analyze {

namespace {

constexpr int64_t kNoChoices = -1, kRagged = -2;

/// `values` as a tensor that borrows their memory.
template <class Number>
Tensor tensor_of(const std::vector<Number>& values, at::ScalarType type) {
  return at::from_blob(const_cast<Number*>(values.data()), {static_cast<int64_t>(values.size())},
                       type);
}

/// Offsets of a part behind `before` of the whole: without the leading 0 but in the first part.
std::vector<int64_t> offsets_behind(const std::vector<int64_t>& offsets, int64_t before,
                                    bool is_first) {
  std::vector<int64_t> out;
  for (size_t i = is_first ? 0 : 1; i < offsets.size(); ++i) out.push_back(before + offsets[i]);
  return out;
}

}  // namespace

TraceWriter::TraceWriter(FileSystem& files, const Path& path, TraceInfo info)
    : info_(std::move(info)), stream_(files, path) {
  if (info_.tokenizer_json.empty()) return;
  const std::vector<uint8_t> bytes(info_.tokenizer_json.begin(), info_.tokenizer_json.end());
  stream_.append(trace::kTokenizer, tensor_of(bytes, at::kByte));
}

void TraceWriter::add(const LayerPairs& pairs, Layer& layer) {
  const auto name = [&](const char* part) { return trace::layer_name(layer.layer, part); };
  const auto T = static_cast<int64_t>(pairs.offset_T.size()) - 1;
  for (size_t t = 0; t + 1 < pairs.offset_T.size(); ++t) {
    const int64_t choices = pairs.offset_T[t + 1] - pairs.offset_T[t];
    if (layer.choices == kNoChoices) layer.choices = choices;
    if (layer.choices != choices) layer.choices = kRagged;
  }
  stream_.append(name(trace::kOffsets),
                 tensor_of(offsets_behind(pairs.offset_T, layer.pairs, tokens_ == 0), at::kLong));
  stream_.append(name(trace::kExperts), tensor_of(pairs.expert_N, at::kInt));
  stream_.append(name(trace::kWeights), tensor_of(pairs.weight_N, at::kFloat));
  if (!pairs.score_entropy_T.empty())
    stream_.append(name(trace::kScoreEntropy), tensor_of(pairs.score_entropy_T, at::kFloat));
  if (!pairs.logits_TE.empty())
    stream_.append(name(trace::kLogits),
                   tensor_of(pairs.logits_TE, at::kFloat).view({T, layer.experts}));
  layer.pairs += static_cast<int64_t>(pairs.expert_N.size());
}

void TraceWriter::add(const RoutedRows& rows) {
  if (rows.tokens() == 0) return;
  if (layers_.empty())
    for (const auto& pairs : rows.layers)
      layers_.push_back({pairs.layer, pairs.experts, pairs.weight_on_input});
  check(layers_.size() == rows.layers.size(), "analyze/trace", "expected rows with ",
        layers_.size(), " MoE layers, as before, got ", rows.layers.size(),
        ". Trace the rows of one model.");
  for (size_t i = 0; i < layers_.size(); ++i) {
    check(layers_[i].layer == rows.layers[i].layer && layers_[i].experts == rows.layers[i].experts,
          "analyze/trace", "expected layer ", layers_[i].layer, " of ", layers_[i].experts,
          " experts, as before, got layer ", rows.layers[i].layer, " of ", rows.layers[i].experts,
          ". Trace the rows of one model.");
    add(rows.layers[i], layers_[i]);
  }
  const std::vector<int32_t> domain_U(static_cast<size_t>(rows.rows()),
                                      static_cast<int32_t>(rows.domain));
  stream_.append(trace::kTokenIds, tensor_of(rows.token_T, at::kInt));
  stream_.append(trace::kPositions, tensor_of(rows.position_T, at::kInt));
  stream_.append(trace::kCounted, tensor_of(rows.counted_T, at::kByte).to(at::kBool));
  stream_.append(trace::kRowOffsets,
                 tensor_of(offsets_behind(rows.row_begin_U, tokens_, tokens_ == 0), at::kLong));
  stream_.append(trace::kRowDomains, tensor_of(domain_U, at::kInt));
  tokens_ += rows.tokens();
}

void TraceWriter::finish() {
  check(tokens_ > 0, "analyze/trace", "expected rows with tokens, got none. There is nothing to ",
        "trace.");
  std::map<std::string, std::string> metadata = {
      {trace::kFormat, trace::kFormatName},
      {trace::kVersion, std::to_string(trace::kCurrentVersion)},
      {trace::kSequence, std::to_string(info_.sequence)},
      {trace::kVocabulary, std::to_string(info_.vocabulary)},
      {trace::kTokenizer, info_.tokenizer},
      {trace::kModel, info_.model},
      {trace::kStep, std::to_string(info_.step)},
      {trace::kChecksum, info_.checksum},
      {trace::kDomains, std::to_string(info_.domains.size())},
  };
  for (size_t d = 0; d < info_.domains.size(); ++d)
    metadata[trace::domain_name(d)] = info_.domains[d];
  for (const auto& layer : layers_) {
    const auto name = [&](const char* part) { return trace::layer_name(layer.layer, part); };
    metadata[name(trace::kNumExperts)] = std::to_string(layer.experts);
    if (layer.weight_on_input) metadata[name(trace::kWeightOnInput)] = "1";
    if (layer.choices < 0) continue;
    stream_.drop(name(trace::kOffsets));
    stream_.reshape(name(trace::kExperts), {tokens_, layer.choices});
    stream_.reshape(name(trace::kWeights), {tokens_, layer.choices});
  }
  stream_.finish(metadata);
}

}  // namespace moe::analyze
