// The bytes of event files, against vectors known from the specifications.
#include <cerrno>

#include <gtest/gtest.h>

#include <moe/formats/crc32c.h>
#include <moe/formats/event_file.h>

#include "tests/support/faulty_files.h"
#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::formats {
namespace {

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(c));
    out += digits;
  }
  return out;
}

uint32_t crc_of(const std::string& text) {
  return crc32c(bytes_of(text));
}

TEST(Crc32c, OfKnownTexts) {
  EXPECT_EQ(crc_of(""), 0u);
  EXPECT_EQ(crc_of("123456789"), 0xe3069283u);
  // RFC 3720, B.4: 32 bytes of zeros, of ones, rising, falling.
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) {
    rising += static_cast<char>(i);
    falling += static_cast<char>(31 - i);
  }
  EXPECT_EQ(crc_of(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc_of(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc_of(rising), 0x46dd794eu);
  EXPECT_EQ(crc_of(falling), 0x113fdb5cu);
}

TEST(Protobuf, WritesTheWireFormat) {
  // 150 in field 1 and "testing" in field 2 are the examples of the specification.
  EXPECT_EQ(hex(ProtobufMessage().integer(1, 150).bytes()), "089601");
  EXPECT_EQ(hex(ProtobufMessage().text(2, "testing").bytes()), "120774657374696e67");
  EXPECT_EQ(hex(ProtobufMessage().message(3, ProtobufMessage().integer(1, 150)).bytes()),
            "1a03089601");
  EXPECT_EQ(hex(ProtobufMessage().integer(1, -2).bytes()), "08feffffffffffffffff01");
  EXPECT_EQ(hex(ProtobufMessage().float32(2, 1.5f).bytes()), "150000c03f");
  EXPECT_EQ(hex(ProtobufMessage().float64(1, -2).bytes()), "0900000000000000c0");
  const std::vector<double> two = {1, 2};
  EXPECT_EQ(hex(ProtobufMessage().float64s(6, two).bytes()),
            "3210000000000000f03f0000000000000040");
  EXPECT_EQ(hex(ProtobufMessage().integer(16, 1).bytes()), "800101");
}

TEST(EventFile, FirstRecordIsTheVersion) {
  const test::TemporaryFolder folder;
  EventFile file(real_files(), folder.path(), 1700000000.5);
  file.close();
  const auto names = real_files().list(folder.path());
  EXPECT_EQ(names, (std::vector<std::string>{"events.out.tfevents.1700000000.000000.moe"}));
  const std::string text = read_file(real_files(), folder / names[0], 1 << 20);
  // 24 bytes of data; the checksum of the length 24 is the one that every such file begins with.
  EXPECT_EQ(hex(text.substr(0, 12)), "1800000000000000a37f4b22");
  EXPECT_EQ(hex(text.substr(12, 9)), "0900002040fc54d941");
  EXPECT_EQ(text.substr(21, 15),
            "\x1a\x0d"
            "brain.Event:2");
  EXPECT_EQ(text.size(), 12u + 24 + 4);
  EXPECT_EQ(text, tf_record(text.substr(12, 24)));
}

TEST(EventFile, SummariesHoldScalarsHistogramsAndText) {
  EventSummary summary;
  EXPECT_TRUE(summary.empty());
  summary.scalar("a", 1.5);
  EXPECT_EQ(hex(summary.message().bytes()), "0a080a0161150000c03f");
  EventSummary text;
  text.text("t", "hi");
  // tag; tensor {dtype STRING, shape {dim {1}}, "hi"}; metadata {plugin "text", class TENSOR}.
  EXPECT_EQ(hex(text.message().bytes()),
            "0a1d0a0174420c0807120412020801420268694a0a0a060a04746578742002");
  EventSummary histogram;
  const std::vector<double> edges = {0, 1, 2}, heights = {3, 1}, short_edges = {0, 1};
  EXPECT_ERROR(histogram.histogram("h", short_edges, heights), "3 edges of 2 buckets");
}

TEST(EventFile, NamesSortInTheOrderOfTheirMaking) {
  const test::TemporaryFolder folder;
  std::vector<std::string> made;
  // The clock stands, goes on, and goes back.
  for (const double time : {1700000000.0, 1700000000.5, 1700000003.0, 1700000001.0, 1700000003.0}) {
    EventFile(real_files(), folder.path(), time).close();
    const auto names = real_files().list(folder.path());
    ASSERT_EQ(names.size(), made.size() + 1);
    EXPECT_EQ(std::vector(names.begin(), names.end() - 1), made);
    made = names;
  }
}

TEST(EventFile, AFullDiskIsToldByName) {
  const test::TemporaryFolder folder;
  bool full = false;
  test::FaultyFiles files(real_files(), [&](size_t, std::string_view call) {
    return full && call == "write" ? ENOSPC : 0;
  });
  EventFile file(files, folder.path(), 1);
  EventSummary summary;
  summary.scalar("loss", 2);
  file.write(3, summary, 2);
  full = true;
  EXPECT_ERROR(file.write(4, summary, 3), "tfevents");
  EXPECT_ERROR(file.restart(4, 3), "The disk (or the quota) is full");
}

}  // namespace
}  // namespace moe::formats
