#pragma once
// The names in a routing trace: docs/traces.md.

#include <cstddef>
#include <cstdint>
#include <string>

namespace moe::analyze::trace {

// Tensors.
inline constexpr const char* kTokenIds = "token_ids";
inline constexpr const char* kPositions = "positions";
inline constexpr const char* kCounted = "counted";
inline constexpr const char* kRowOffsets = "row_offsets";
inline constexpr const char* kRowDomains = "row_domains";
// Parts of layers.I.
inline constexpr const char* kExperts = "experts";
inline constexpr const char* kWeights = "weights";
inline constexpr const char* kOffsets = "offsets";
inline constexpr const char* kScoreEntropy = "score_entropy";
inline constexpr const char* kLogits = "router_logits";
// A tensor (its tokenizer.json) and metadata (its name).
inline constexpr const char* kTokenizer = "tokenizer";
// Metadata.
inline constexpr const char* kFormat = "format";
inline constexpr const char* kFormatName = "moe-routing-trace";
inline constexpr const char* kVersion = "version";
inline constexpr int64_t kCurrentVersion = 1;
inline constexpr const char* kSequence = "sequence";
inline constexpr const char* kVocabulary = "vocabulary";
inline constexpr const char* kModel = "model";
inline constexpr const char* kStep = "step";
inline constexpr const char* kChecksum = "checksum";
inline constexpr const char* kDomains = "domains";
inline constexpr const char* kNumExperts = "num_experts";
inline constexpr const char* kWeightOnInput = "weight_on_input";

inline std::string layer_name(int64_t layer, const char* part) {
  return "layers." + std::to_string(layer) + '.' + part;
}
inline std::string domain_name(size_t domain) {
  return "domain." + std::to_string(domain);
}

}  // namespace moe::analyze::trace
