#pragma once
// The event files that TensorBoard shows (tensorboard/compat/proto: event.proto, summary.proto).

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <moe/base/files.h>
#include <moe/formats/protobuf.h>

namespace moe::formats {

/// The values of one step.
class EventSummary {
 public:
  void scalar(std::string_view tag, double value);
  /// `heights[i]` stands between edges[i] and edges[i + 1]: one edge more than there are heights.
  /// Throws moe::Error for other numbers of edges.
  void histogram(std::string_view tag, std::span<const double> edges,
                 std::span<const double> heights);
  /// Markdown.
  void text(std::string_view tag, std::string_view text);

  bool empty() const { return message_.bytes().empty(); }
  const ProtobufMessage& message() const { return message_; }

 private:
  ProtobufMessage message_;
};

/// One file of events: each is written through to the file system at once, so that TensorBoard sees
/// it and a crash costs nothing. Every call throws moe::Error when the disk is full.
class EventFile {
 public:
  /// Makes a new file in `folder`, whose name sorts behind those of the event files there: readers
  /// take the files of a folder in the order of their names. `wall_time` is in seconds since 1970.
  EventFile(FileSystem& files, const Path& folder, double wall_time);

  void write(int64_t step, const EventSummary& summary, double wall_time);
  /// Tells readers to forget everything of `step` and later that stands before this: what a run
  /// that goes on from a checkpoint does again (SessionLog START).
  void restart(int64_t step, double wall_time);
  void close() { file_->close(); }

 private:
  void write(const ProtobufMessage& event);

  std::unique_ptr<OutputFile> file_;
};

/// A TFRecord: length, masked CRC-32C of the length, data, masked CRC-32C of the data.
std::string tf_record(std::string_view data);

}  // namespace moe::formats
