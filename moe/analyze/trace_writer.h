#pragma once
// A routing trace: who went where, of every token of a run over data, in one safetensors file that
// docs/traces.md describes. T tokens, U rows, E experts.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <moe/analyze/routed_rows.h>
#include <moe/formats/safetensors_stream.h>

namespace moe::analyze {

/// What a trace says about where it comes from.
struct TraceInfo {
  std::vector<std::string> domains = {};
  int64_t sequence = 0;
  int64_t vocabulary = 0;
  /// As data::Tokenizer::name gives it, and its tokenizer.json; "" for one that its name makes.
  std::string tokenizer = "byte";
  std::string tokenizer_json = {};
  /// The checkpoint: its folder, its optimizer steps, and the checksum of its manifest.
  std::string model = {};
  int64_t step = 0;
  std::string checksum = {};
};

/// Writes rows as they come, in the memory of one batch. The file appears whole, at finish().
class TraceWriter {
 public:
  TraceWriter(FileSystem& files, const Path& path, TraceInfo info);

  /// Throws moe::Error for rows whose layers are others than those before.
  void add(const RoutedRows& rows);
  /// Throws moe::Error when no rows were added.
  void finish();

 private:
  struct Layer {
    int64_t layer = 0, experts = 0;
    bool weight_on_input = false;
    /// Pairs of every token so far; -1: none yet, -2: not the same for all.
    int64_t choices = -1;
    int64_t pairs = 0;
  };
  void add(const LayerPairs& pairs, Layer& layer);

  TraceInfo info_;
  formats::SafetensorsStream stream_;
  std::vector<Layer> layers_;
  int64_t tokens_ = 0;
};

}  // namespace moe::analyze
