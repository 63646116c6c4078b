#pragma once
// What the files held that a run read, so that a resumed run reads the same.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <moe/base/files.h>
#include <moe/data/options.h>

namespace moe::data {

/// How much of a file is looked at. One of up to `whole` bytes is read from end to end; of a larger
/// one `pieces` pieces of `piece_bytes` bytes at even distances, the first at its beginning and the
/// last at its end, so that the record of any file takes seconds.
struct SourceSampling {
  uint64_t whole = uint64_t{1} << 30;
  uint64_t pieces = 1024;
  uint64_t piece_bytes = uint64_t{1} << 20;
};

struct SourceRecord {
  /// Where it was; another place makes no other source.
  std::string path;
  uint64_t bytes = 0;
  /// XXH3 of its content, or of its pieces.
  uint64_t checksum = 0;
  bool sampled = false;

  bool same_content(const SourceRecord& other) const {
    return bytes == other.bytes && checksum == other.checksum && sampled == other.sampled;
  }
};

/// By the setting that names the file: "data.domains[0].train".
using SourcePaths = std::map<std::string, std::string>;
using SourceRecords = std::map<std::string, SourceRecord>;

/// The files of the domains of `options`. The tokenizer's is not among them: a checkpoint holds the
/// tokenizer itself.
SourcePaths source_paths(const DataOptions& options);

/// What the file at `path` holds now. Throws Error when it cannot be read.
SourceRecord record_source(const std::string& path, const SourceSampling& sampling = {});

/// Records as a JSON document, and back. parse_source_records throws Error, calling the document
/// `source`, for anything else.
std::string write_source_records(const SourceRecords& records);
SourceRecords parse_source_records(std::string_view json, const std::string& source);

/// The file of a run's checkpoints that holds them.
inline constexpr const char* kSourcesFile = "sources.json";

/// The records in the folder `checkpoint`; nothing when it has none.
std::optional<SourceRecords> read_source_records(const Path& checkpoint);

/// A line for each setting whose file has another content now, and for those that name a file only
/// then or only now.
std::vector<std::string> source_differences(const SourceRecords& was, const SourceRecords& is);

/// For who looks at a run once more: a warning that names the files of `options` that hold
/// something else than when `checkpoint` was written.
void warn_of_changed_sources(const DataOptions& options, const Path& checkpoint);

}  // namespace moe::data
