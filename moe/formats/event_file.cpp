#include <algorithm>
#include <cmath>
#include <cstdio>

#include <moe/base/error.h>
#include <moe/formats/crc32c.h>
#include <moe/formats/event_file.h>

namespace moe::formats {

namespace {

// Fields of the messages, by their numbers in TensorBoard's .proto files.
namespace event {
constexpr uint32_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace session_log {
constexpr uint32_t kStatus = 1;
constexpr int64_t kStart = 1;
}  // namespace session_log
namespace value {
constexpr uint32_t kTag = 1, kSimpleValue = 2, kHistogram = 5, kTensor = 8, kMetadata = 9;
}
namespace histogram {
constexpr uint32_t kMin = 1, kMax = 2, kNumber = 3, kSum = 4, kSumSquares = 5, kLimits = 6,
                   kBuckets = 7;
}
namespace tensor {
constexpr uint32_t kType = 1, kShape = 2, kStrings = 8;
constexpr int64_t kString = 7;
}  // namespace tensor
namespace shape {
constexpr uint32_t kDimension = 2, kSize = 1;
}
namespace metadata {
constexpr uint32_t kPluginData = 1, kPluginName = 1, kDataClass = 4;
constexpr int64_t kTensorClass = 2;
}  // namespace metadata

constexpr uint32_t kSummaryValue = 1;
constexpr std::string_view kEventPrefix = "events.out.tfevents.";

std::string little_endian(uint64_t number, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(number >> (8 * i));
  return out;
}

/// The seconds and the number in the name of an event file of ours; 0 for another's.
std::pair<int64_t, int64_t> numbers_in(const std::string& name) {
  long seconds = 0, number = 0;
  std::sscanf(name.c_str() + kEventPrefix.size(), "%ld.%ld", &seconds, &number);
  return {seconds, number};
}

}  // namespace

std::string tf_record(std::string_view data) {
  const std::string length = little_endian(data.size(), 8);
  std::string out = length + little_endian(masked_crc32c(bytes_of(length)), 4);
  out += data;
  return out + little_endian(masked_crc32c(bytes_of(data)), 4);
}

void EventSummary::scalar(std::string_view tag, double number) {
  message_.message(kSummaryValue, ProtobufMessage()
                                      .text(value::kTag, tag)
                                      .float32(value::kSimpleValue, static_cast<float>(number)));
}

void EventSummary::histogram(std::string_view tag, std::span<const double> edges,
                             std::span<const double> heights) {
  check(edges.size() == heights.size() + 1, "formats/event_file", "expected ", heights.size() + 1,
        " edges of ", heights.size(), " buckets, got ", edges.size(), '.');
  double number = 0, sum = 0, squares = 0;
  for (size_t i = 0; i < heights.size(); ++i) {
    const double middle = (edges[i] + edges[i + 1]) / 2;
    number += heights[i];
    sum += heights[i] * middle;
    squares += heights[i] * middle * middle;
  }
  // A bucket reaches from the limit before it to its own, so the first one, which is empty, only
  // says where the second begins.
  std::vector<double> buckets = {0};
  buckets.insert(buckets.end(), heights.begin(), heights.end());
  message_.message(kSummaryValue,
                   ProtobufMessage()
                       .text(value::kTag, tag)
                       .message(value::kHistogram, ProtobufMessage()
                                                       .float64(histogram::kMin, edges.front())
                                                       .float64(histogram::kMax, edges.back())
                                                       .float64(histogram::kNumber, number)
                                                       .float64(histogram::kSum, sum)
                                                       .float64(histogram::kSumSquares, squares)
                                                       .float64s(histogram::kLimits, edges)
                                                       .float64s(histogram::kBuckets, buckets)));
}

void EventSummary::text(std::string_view tag, std::string_view text) {
  const auto one = ProtobufMessage().integer(shape::kSize, 1);
  message_.message(
      kSummaryValue,
      ProtobufMessage()
          .text(value::kTag, tag)
          .message(value::kTensor,
                   ProtobufMessage()
                       .integer(tensor::kType, tensor::kString)
                       .message(tensor::kShape, ProtobufMessage().message(shape::kDimension, one))
                       .text(tensor::kStrings, text))
          .message(value::kMetadata,
                   ProtobufMessage()
                       .message(metadata::kPluginData,
                                ProtobufMessage().text(metadata::kPluginName, "text"))
                       .integer(metadata::kDataClass, metadata::kTensorClass)));
}

EventFile::EventFile(FileSystem& files, const Path& folder, double wall_time) {
  make_folders(files, folder);
  std::pair<int64_t, int64_t> next = {static_cast<int64_t>(wall_time), 0};
  for (const auto& name : files.list(folder))
    if (name.starts_with(kEventPrefix))
      if (const auto [seconds, number] = numbers_in(name); seconds >= next.first)
        next = {seconds, std::max(number + 1, seconds == next.first ? next.second : 0)};
  char name[64];
  std::snprintf(name, sizeof name, "%010ld.%06ld.moe", static_cast<long>(next.first),
                static_cast<long>(next.second));
  file_ = files.create(folder / (std::string(kEventPrefix) + name));
  write(ProtobufMessage()
            .float64(event::kWallTime, wall_time)
            .text(event::kFileVersion, "brain.Event:2"));
}

void EventFile::write(const ProtobufMessage& event) {
  file_->write(bytes_of(tf_record(event.bytes())));
}

void EventFile::write(int64_t step, const EventSummary& summary, double wall_time) {
  if (summary.empty()) return;
  write(ProtobufMessage()
            .float64(event::kWallTime, wall_time)
            .integer(event::kStep, step)
            .message(event::kSummary, summary.message()));
}

void EventFile::restart(int64_t step, double wall_time) {
  write(ProtobufMessage()
            .float64(event::kWallTime, wall_time)
            .integer(event::kStep, step)
            .message(event::kSessionLog,
                     ProtobufMessage().integer(session_log::kStatus, session_log::kStart)));
}

}  // namespace moe::formats
