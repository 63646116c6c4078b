#pragma once
// T tokens, D width, F hidden units, E experts, K choices.
// What `moe bench suite` and benchmarks/peers/time_layers.py write, read back.

#include <optional>
#include <string>
#include <vector>

#include <moe/base/files.h>

namespace moe::report::bench {

/// What was timed.
struct BenchWork {
  int64_t tokens = 0, d_model = 0, d_ff = 0, experts = 0, top_k = 0;
  /// "forward" or "train"; "float32", "bfloat16" …; "learned", "zipf" ….
  std::string mode, dtype, routing;

  bool operator==(const BenchWork&) const = default;
};

/// One line of the suite. NaN where a number is missing.
struct BenchRow {
  std::string group;
  BenchWork work;
  std::string instruction_set;
  double ms = 0, dense_ms = 0, bound_ms = 0;
  double gflops = 0;
  double flops = 0;
  /// Bytes of weights that must move.
  double moved_bytes = 0;
  double cpu_wait = 0, busiest_share = 0;
  /// Why it was not run; "" when it was.
  std::string skipped;
};

/// The same work done by others.
struct PeerRow {
  std::string peer;
  /// A dense block of K F hidden units in the layer's place.
  bool is_dense = false;
  BenchWork work;
  double ms = 0;
  /// Ours, timed in turn with it.
  double ours_ms = 0;
};

/// Of the machine and the run.
struct BenchHead {
  std::string date, version, cpu, instruction_set;
  int64_t threads = 0;
  double float32 = 0, bfloat16 = 0, int8 = 0, read = 0;

  /// GFLOP/s of a type; 0 for one that was not measured.
  double peak(const std::string& dtype) const;
};

struct BenchResults {
  BenchHead head;
  std::vector<BenchRow> rows;
  std::vector<PeerRow> peers;

  /// The fastest peer's layer at the same work, or the fastest dense block; null when none was
  /// timed.
  const PeerRow* best_peer(const BenchWork& work, bool is_dense = false) const;
};

/// Reads files of lines, of either kind. A last line without a newline is passed over: it is
/// being written. Throws moe::Error, naming file and line, for anything else that is not such a
/// line, and when no file holds the head that the suite writes first.
BenchResults read_results(const std::vector<Path>& files, FileSystem& system = real_files());

}  // namespace moe::report::bench
