#pragma once
// Reading a routing trace. T tokens, U rows, E experts.

#include <memory>
#include <string>
#include <vector>

#include <moe/analyze/trace_writer.h>
#include <moe/data/tokenizer.h>
#include <moe/flow/routing.h>
#include <moe/formats/safetensors.h>

namespace moe::analyze {

/// A trace opened for reading: a mapped file, so that only what is looked at is in memory. Const
/// calls are thread-safe.
class TraceFile {
 public:
  /// Checks all of the file, which is untrusted: names, shapes, types, and that every number
  /// lies where it may. Throws moe::Error.
  static TraceFile open(const Path& path);

  const TraceInfo& info() const { return info_; }
  /// The numbers of the blocks with experts.
  std::vector<int64_t> layers() const;
  int64_t tokens() const { return token_T_.size(0); }

  /// Hands on the rows in their order, a batch of at most options.batch rows of one domain at a
  /// time, and at most options.max_batches of them a domain: what route_rows gave for the model,
  /// number for number. Throws ConfigError for options out of range.
  void rows(const RowOptions& options, const TakeRows& take) const;

  /// The routing of one layer over the tokens of one domain, in order, as routing::ReplayRouter and
  /// routing::write_recording take it: token 0 is the domain's first. Throws moe::Error for a layer
  /// or domain that the trace does not have.
  Routing routing(int64_t layer, const std::string& domain) const;

  /// The tokenizer that the ids belong to. Throws moe::Error when the trace holds none that can be
  /// read.
  std::shared_ptr<const data::Tokenizer> tokenizer() const;

 private:
  struct Layer {
    int64_t layer = 0, experts = 0;
    bool weight_on_input = false;
    int64_t choices = -1;  // -1: offsets tell
    Tensor offset_T, expert_N, weight_N, score_entropy_T, logits_TE;

    int64_t begin(int64_t t) const {
      return choices >= 0 ? t * choices : offset_T.const_data_ptr<int64_t>()[t];
    }
  };
  TraceFile() = default;
  void read_info(const formats::SafetensorsFile& file, const std::string& source);
  void read_tokens(const formats::SafetensorsFile& file, const std::string& source);
  Layer read_layer(const formats::SafetensorsFile& file, const std::string& source,
                   int64_t number) const;
  RoutedRows rows_between(int64_t first, int64_t last, bool logits) const;

  TraceInfo info_;
  std::string source_;
  Tensor token_T_, position_T_, counted_T_, row_offset_U_, row_domain_U_;
  std::vector<Layer> layers_;
};

}  // namespace moe::analyze
