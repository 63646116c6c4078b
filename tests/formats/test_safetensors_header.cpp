// What the reader of safetensors headers refuses, and how it says so.

#include <cstring>
#include <tests/support/message_of.h>

#include <gtest/gtest.h>

#include <moe/base/files.h>
#include <moe/formats/safetensors_header.h>

namespace moe::formats {
namespace {

/// A file with `header` as it stands and `data_bytes` zeros.
std::string file_of(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + std::string(data_bytes, '\0');
}

void parse(const std::string& file) {
  parse_safetensors_header(bytes_of(file), "x.safetensors");
}

/// One tensor entry, "w" F32 of shape [2] unless told otherwise.
std::string entry(const std::string& dtype = "\"F32\"", const std::string& shape = "[2]",
                  const std::string& offsets = "[0,8]", const std::string& name = "w") {
  return "\"" + name + "\":{\"dtype\":" + dtype + ",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

void refuses(const std::string& header, const std::string& part, size_t data_bytes = 8) {
  EXPECT_ERROR(parse(file_of(header, data_bytes)), part);
}

TEST(SafetensorsHeader, AcceptsTheSmallest) {
  EXPECT_NO_THROW(parse(file_of("{}", 0)));
  EXPECT_NO_THROW(parse(file_of("{" + entry() + "}   ", 8)));
}

TEST(SafetensorsHeader, RefusesWrongLengths) {
  EXPECT_ERROR(parse(""), "at least 8 bytes");
  EXPECT_ERROR(parse("1234567"), "cut short");
  EXPECT_ERROR(parse(std::string("\x05\0\0\0\0\0\0\0{}", 10)), "header of 5 bytes");
  EXPECT_ERROR(parse(std::string("\0\xe1\xf5\x05\x01\0\0\0{}", 10)), "at most 100000000");
  EXPECT_ERROR(parse(std::string(8, '\xff') + "{}"), "at most 100000000");
  EXPECT_ERROR(parse(std::string(8, '\0')), "got nothing");
}

TEST(SafetensorsHeader, RefusesWhatIsNotOneJsonObject) {
  refuses("[]", "begins with '{'", 0);
  refuses(" {}", "begins with '{'", 0);
  refuses("\xef\xbb\xbf{}", "begins with '{'", 0);
  refuses("{", "valid JSON", 0);
  refuses("{}{}", "valid JSON", 0);
  refuses("{} x", "valid JSON", 0);
  refuses(std::string("{}\0", 3), "NUL byte", 0);
  refuses("{\"a\xff\":1}", "valid JSON", 0);
  refuses("{\"\xed\xa0\x80\":1}", "valid JSON", 0);
  refuses("{\"w\":" + std::string(100000, '['), "nested levels", 0);
  refuses("{" + entry("\"F32\"", "[[2]]") + "}", "nested levels");
}

TEST(SafetensorsHeader, RefusesRepeatedKeys) {
  refuses("{" + entry() + "," + entry() + "}", "'w' twice");
  refuses("{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
          "'dtype' twice");
  refuses("{\"__metadata__\":{},\"__metadata__\":{}}", "'__metadata__' twice", 0);
  refuses("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", "'a' twice", 0);
}

TEST(SafetensorsHeader, ManyTensorsTakeTheTimeOfEachOfThem) {
  constexpr int kTensors = 200'000;
  std::string header = "{";
  for (int i = 0; i < kTensors; ++i)
    header += concat(i == 0 ? "" : ",", "\"t", i, "\":{\"dtype\":\"U8\",\"shape\":[1],",
                     "\"data_offsets\":[", i, ',', i + 1, "]}");
  const std::string file = file_of(header + "}", kTensors);
  EXPECT_EQ(parse_safetensors_header(bytes_of(file), "x.safetensors").tensors.size(),
            size_t{kTensors});
}

TEST(SafetensorsHeader, RefusesBadMetadata) {
  refuses("{\"__metadata__\":[]}", "map of strings", 0);
  refuses("{\"__metadata__\":{\"a\":1}}", "got number at 'a'", 0);
  refuses("{\"__metadata__\":{\"a\":{}}}", "got object at 'a'", 0);
}

TEST(SafetensorsHeader, RefusesBadEntries) {
  refuses("{\"w\":1}", "expected an object for tensor 'w' of 'x.safetensors', got number");
  refuses("{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", "expected 'data_offsets'");
  refuses("{\"w\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "expected 'dtype'");
  refuses("{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "expected 'shape'");
  refuses("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", "got 'x'");
  refuses("{" + entry("\"F33\"") + "}", "to be one of BOOL, U8");
  refuses("{" + entry("32") + "}", "'dtype' of tensor 'w' of 'x.safetensors' to be a string");
  refuses("{" + entry("\"F32\"", "2") + "}", "to be a list");
  refuses("{" + entry("\"F32\"", "[2,1,1,1,1,1,1,1,1]") + "}", "at most 8 dimensions");
  refuses("{" + entry("\"F32\"", "[\"2\"]") + "}", "whole numbers");
  refuses("{" + entry("\"F32\"", "[2.0]") + "}", "whole numbers");
  refuses("{" + entry("\"F32\"", "[-2]") + "}", "whole numbers from 0 to 2^63-1, got -2");
  refuses("{" + entry("\"F32\"", "[9223372036854775808]") + "}", "whole numbers");
  refuses("{" + entry("\"F32\"", "[99999999999999999999999]") + "}", "whole numbers");
}

TEST(SafetensorsHeader, RefusesShapesThatOverflow) {
  refuses("{" + entry("\"F32\"", "[4611686018427387904,2]") + "}", "less than 2^63 bytes");
  // 2^32 * 2^32 * 4 is 0 modulo 2^64.
  refuses("{" + entry("\"F32\"", "[4294967296,4294967296]", "[0,0]") + "}", "less than 2^63 bytes",
          0);
  refuses("{" + entry("\"F32\"", "[0,4294967296,4294967296]", "[0,0]") + "}",
          "less than 2^63 bytes", 0);
}

TEST(SafetensorsHeader, RefusesOffsetsThatDoNotMatchTheShape) {
  refuses("{" + entry("\"F32\"", "[2]", "[0,7]") + "}", "expected 8 bytes (dtype times shape)");
  refuses("{" + entry("\"F32\"", "[2]", "[8,0]") + "}", "ascending");
  refuses("{" + entry("\"F32\"", "[2]", "[0]") + "}", "two data_offsets");
  refuses("{" + entry("\"F32\"", "[2]", "[0,8,8]") + "}", "two data_offsets");
  refuses("{" + entry("\"F32\"", "[2]", "[-8,0]") + "}", "whole numbers");
  refuses("{" + entry("\"F32\"", "[2]", "\"0,8\"") + "}", "to be a list");
  refuses("{" + entry("\"F32\"", "[2]", "[18446744073709551608,0]") + "}", "whole numbers");
}

TEST(SafetensorsHeader, RefusesOverlappingTensors) {
  const std::string second = entry("\"F32\"", "[2]", "[4,12]", "v");
  refuses("{" + entry() + "," + second + "}", "not to overlap", 12);
  refuses("{" + entry() + "," + entry("\"F32\"", "[2]", "[0,8]", "v") + "}", "not to overlap", 16);
  refuses("{" + entry() + "," + entry("\"F32\"", "[0]", "[4,4]", "v") + "}", "not to overlap", 8);
}

TEST(SafetensorsHeader, RefusesHolesAndDataBeyondTheEnd) {
  refuses("{" + entry("\"F32\"", "[2]", "[4,12]") + "}", "no hole", 12);
  refuses("{" + entry() + "," + entry("\"F32\"", "[2]", "[12,20]", "v") + "}", "no hole", 20);
  refuses("{" + entry() + "}", "got 7. The file is cut short", 7);
  refuses("{" + entry() + "}", "1 bytes more at the end", 9);
  refuses("{}", "4 bytes more at the end", 4);
}

TEST(SafetensorsHeader, HostileNamesAreShownSafely) {
  const std::string name = "\\u001b[31m" + std::string(100000, 'n');
  const auto message = test::message_of(
      [&] { parse(file_of("{" + entry("\"F33\"", "[2]", "[0,8]", name) + "}", 8)); });
  EXPECT_TRUE(test::contains(message, "'\\x1b[31mnnn")) << message.substr(0, 200);
  EXPECT_LT(message.size(), 1000);
}

}  // namespace
}  // namespace moe::formats
