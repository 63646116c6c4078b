// idx files, plain and compressed with gzip, and how damaged ones are refused.

#include <gtest/gtest.h>

#include <moe/base/files.h>
#include <moe/formats/gzip.h>
#include <moe/formats/idx.h>

#include "tests/support/gzip.h"
#include "tests/support/idx.h"
#include "tests/support/message_of.h"

namespace moe::formats {
namespace {

using test::gzip_of;
using test::idx_of;

IdxArray read(const std::string& file) {
  return read_idx(bytes_of(file), "x.idx", nullptr);
}

/// Value i of what the files below hold.
char value(int i) {
  return static_cast<char>(i / 7 % 5);
}

std::string values(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += value(i);
  return out;
}

void expect_values(const IdxArray& array, const std::vector<int64_t>& shape) {
  EXPECT_EQ(array.shape, shape);
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  ASSERT_EQ(static_cast<int64_t>(array.values.size()), count);
  for (size_t i = 0; i < array.values.size(); ++i)
    EXPECT_EQ(array.values[i], value(static_cast<int>(i))) << i;
}

/// What gzip makes of the array (2, 6, 5) of values(60).
const std::string& compressed() {
  static const std::string out = [] {
    constexpr std::string_view kHex =
        "1f8b08000000000002036360e060666060600262362066658000460860820066086081009c4a000b2446e64c00"
        "0000";
    std::string bytes;
    for (size_t i = 0; i < kHex.size(); i += 2)
      bytes += static_cast<char>(std::stoi(std::string(kHex.substr(i, 2)), nullptr, 16));
    return bytes;
  }();
  return out;
}

TEST(Idx, ReadsOneToFourDimensions) {
  expect_values(read(idx_of({3}, values(3))), {3});
  expect_values(read(idx_of({2, 4}, values(8))), {2, 4});
  expect_values(read(idx_of({2, 6, 5}, values(60))), {2, 6, 5});
  expect_values(read(idx_of({2, 3, 2, 5}, values(60))), {2, 3, 2, 5});
}

TEST(Idx, ShowsAPlainFileAsItLies) {
  const std::string file = idx_of({2, 4}, values(8));
  EXPECT_EQ(static_cast<const void*>(read(file).values.data()), file.data() + 12);
}

TEST(Idx, ReadsWhatGzipMade) {
  expect_values(read(compressed()), {2, 6, 5});
  expect_values(read(gzip_of(idx_of({2, 6, 5}, values(60)))), {2, 6, 5});
  expect_values(read(gzip_of(idx_of({100, 30, 30}, values(90000)))), {100, 30, 30});
}

TEST(Idx, RefusesHeadersThatAreNone) {
  EXPECT_ERROR(read(""), "[formats/idx] expected an idx header in 'x.idx', got the end");
  EXPECT_ERROR(read(idx_of({3}, values(3)).substr(0, 6)), "cut short");
  EXPECT_ERROR(read("x" + idx_of({3}, values(3))), "two zero bytes, as idx does, got 120 and 0");
  EXPECT_ERROR(read(idx_of({3}, values(12), 13)),
               "expected unsigned bytes (type 8) in 'x.idx', got type 13");
  EXPECT_ERROR(read(idx_of({}, values(3))), "expected 1 to 4 dimensions in 'x.idx', got 0");
  EXPECT_ERROR(read(idx_of({1, 1, 1, 1, 1}, values(1))), "got 5");
  EXPECT_ERROR(read(idx_of({3, 0}, "")), "got 0 for dimension 1");
}

TEST(Idx, RefusesSizesThatAreNotThoseOfTheFile) {
  EXPECT_ERROR(read(idx_of({2, 4}, values(7))), "expected 8 bytes of values");
  EXPECT_ERROR(read(idx_of({2, 4}, values(9))), "got 1 bytes more");
  EXPECT_ERROR(read(gzip_of(idx_of({2, 4}, values(7)))), "expected 1 bytes more");
  EXPECT_ERROR(read(gzip_of(idx_of({2, 4}, values(9)))), "got more bytes than its header says");
  EXPECT_ERROR(read(compressed() + "x"), "got 1 bytes. The file is damaged");
}

TEST(Idx, AllocatesNothingThatTheFileCannotHold) {
  constexpr uint32_t kLargest = ~uint32_t{0};
  for (const auto& shape :
       std::vector<std::vector<uint32_t>>{{kLargest}, {kLargest, 1u << 30}, {60000, 1 << 20, 16}}) {
    EXPECT_ERROR(read(idx_of(shape, values(9))), "bytes of values behind the header");
    EXPECT_ERROR(read(gzip_of(idx_of(shape, values(9)))), "bytes of values behind the header");
  }
  EXPECT_ERROR(read(idx_of({kLargest, kLargest, kLargest, kLargest}, "")), "less than 2^63 bytes");
}

TEST(Idx, EveryFileCutShortIsRefused) {
  for (const std::string& file : {idx_of({2, 6, 5}, values(60)), compressed()})
    for (size_t length = 0; length < file.size(); ++length)
      EXPECT_NE(test::message_of([&] { read(file.substr(0, length)); }), "") << length;
}

TEST(Idx, DamagedBytesAreRefusedOrChangeNothing) {
  const std::string plain = idx_of({2, 6, 5}, values(60));
  for (const std::string& file : {plain, compressed(), gzip_of(plain)})
    for (size_t at = 0; at < (file == plain ? 16 : file.size()); ++at)
      for (const int flip : {1, 2, 16, 128, 255}) {
        std::string damaged = file;
        damaged[at] = static_cast<char>(damaged[at] ^ flip);
        // Some bits of gzip (time, system, what fills up a byte before a stored block) say nothing
        // of the content.
        IdxArray array;
        if (test::message_of([&] { array = read(damaged); }).empty()) {
          EXPECT_NE(file, plain) << at << ' ' << flip;
          expect_values(array, {2, 6, 5});
        }
      }
}

TEST(Gzip, ReadsInPiecesAndSaysWhatIsMissing) {
  const std::string text = "a text of some length, of some length, of some length";
  const std::string file = gzip_of(text);
  GzipReader reader(bytes_of(file), "x.gz");
  std::string out(text.size(), '\0');
  const auto into = std::as_writable_bytes(std::span(out));
  reader.read(into.first(5));
  reader.read(into.subspan(5, 0));
  reader.read(into.subspan(5));
  EXPECT_EQ(out, text);
  reader.finish();
  EXPECT_ERROR(reader.read(into.first(1)), "expected 1 bytes more in 'x.gz'");
  EXPECT_ERROR(GzipReader(bytes_of("no gzip"), "x.gz").read(into),
               "expected compressed data in 'x.gz'");
}

}  // namespace
}  // namespace moe::formats
