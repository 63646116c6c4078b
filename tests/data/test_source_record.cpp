// What files held, and whether they still do.
#include <fstream>

#include <gtest/gtest.h>

#include <moe/data/source_record.h>
#include <moe/formats/checksum.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::data {
namespace {

class SourceFiles : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  test::TemporaryFolder folder_;
};

std::string counted_bytes(size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) out += static_cast<char>(i * 7 + i / 256);
  return out;
}

TEST_F(SourceFiles, AWholeFileIsItsSizeAndChecksum) {
  const std::string text = counted_bytes(5000);
  const SourceRecord record = record_source(write("a", text));
  EXPECT_EQ(record.bytes, 5000u);
  EXPECT_EQ(record.checksum, formats::checksum_of(text));
  EXPECT_FALSE(record.sampled);
  EXPECT_TRUE(record.same_content(record_source(write("elsewhere", text))));
  for (const size_t at : {size_t{0}, size_t{2500}, text.size() - 1}) {
    std::string other = text;
    other[at] = static_cast<char>(other[at] ^ 1);
    EXPECT_FALSE(record.same_content(record_source(write("a", other)))) << at;
  }
  EXPECT_FALSE(record.same_content(record_source(write("a", text + "x"))));
  EXPECT_FALSE(record.same_content(record_source(write("a", "x" + text))));
  EXPECT_FALSE(record.same_content(record_source(write("a", text.substr(1)))));
  EXPECT_EQ(record_source(write("empty", "")).bytes, 0u);
  EXPECT_ERROR(record_source(folder_ / "none"), "none");
}

TEST_F(SourceFiles, SamplingBeginsAboveItsSizeAndSeesBothEnds) {
  const SourceSampling sampling{.whole = 64, .pieces = 4, .piece_bytes = 8};
  const std::string small = counted_bytes(64);
  const SourceRecord whole = record_source(write("a", small), sampling);
  EXPECT_FALSE(whole.sampled);
  EXPECT_EQ(whole.checksum, formats::checksum_of(small));
  for (const size_t size : {size_t{65}, size_t{1000}, size_t{1003}}) {
    const std::string text = counted_bytes(size);
    const SourceRecord record = record_source(write("a", text), sampling);
    EXPECT_TRUE(record.sampled);
    EXPECT_EQ(record.bytes, size);
    // The pieces begin at 0, 1/3 and 2/3 of the room, and the last ends the file.
    std::string pieces;
    for (const size_t i : {0, 1, 2, 3}) pieces += text.substr((size - 8) * i / 3, 8);
    EXPECT_EQ(record.checksum, formats::checksum_of(pieces));
    for (const size_t at : {size_t{0}, size_t{7}, size - 8, size - 1}) {
      std::string other = text;
      other[at] = static_cast<char>(other[at] ^ 1);
      EXPECT_FALSE(record.same_content(record_source(write("a", other), sampling))) << at;
    }
    EXPECT_FALSE(record.same_content(record_source(write("a", text + "x"), sampling)));
  }
  EXPECT_ERROR(record_source(folder_ / "a", {.whole = 64, .pieces = 1, .piece_bytes = 8}),
               "at least two pieces");
  EXPECT_ERROR(record_source(folder_ / "a", {.whole = 64, .pieces = 9, .piece_bytes = 8}),
               "that fit into 64 bytes, got 9 of 8");
}

TEST_F(SourceFiles, DefaultsReadOneGibibyteAtMost) {
  const SourceSampling sampling;
  EXPECT_EQ(sampling.whole, uint64_t{1} << 30);
  EXPECT_EQ(sampling.pieces * sampling.piece_bytes, sampling.whole);
}

TEST(SourcePaths, AreTheFilesOfEveryDomainBySetting) {
  DataOptions options;
  options.domains.resize(3);
  options.domains[0].path = "a";
  options.domains[1].train = "b";
  options.domains[1].valid = "c";
  options.domains[2].train = "d";
  options.domains[2].train_labels = "e";
  options.domains[2].valid = "f";
  options.domains[2].valid_labels = "g";
  EXPECT_EQ(source_paths(options), (SourcePaths{{"data.domains[0].path", "a"},
                                                {"data.domains[1].train", "b"},
                                                {"data.domains[1].valid", "c"},
                                                {"data.domains[2].train", "d"},
                                                {"data.domains[2].train_labels", "e"},
                                                {"data.domains[2].valid", "f"},
                                                {"data.domains[2].valid_labels", "g"}}));
}

TEST(SourceRecords, GoToJsonAndBack) {
  SourceRecords records;
  records["data.domains[0].train"] = {"dir/a \"b\"", 5000, 0x0123456789abcdef, false};
  records["x"] = {"", UINT64_MAX, 0, true};
  const SourceRecords again = parse_source_records(write_source_records(records), "s");
  EXPECT_TRUE(source_differences(records, again).empty());
  EXPECT_EQ(again.at("data.domains[0].train").path, "dir/a \"b\"");
  EXPECT_EQ(write_source_records(again), write_source_records(records));
  EXPECT_TRUE(parse_source_records(write_source_records({}), "s").empty());
  records["x"].path = "\xFF";  // a file may have such a name
  EXPECT_EQ(parse_source_records(write_source_records(records), "s").at("x").path, "\uFFFD");
}

TEST(SourceRecords, RefuseOtherDocuments) {
  for (const std::string text :
       {"", "[]", "{", R"({"a": 1})", R"({"a": {"path": "p", "bytes": 1, "checksum": "0"}})",
        R"({"a": {"path": "p", "bytes": -1, "checksum": "0123456789abcdef", "sampled": false}})",
        R"({"a": {"path": "p", "bytes": 1, "checksum": "0123456789ABCDEF", "sampled": false}})",
        R"({"a": {"path": "p", "bytes": 1, "checksum": 5, "sampled": false}})",
        R"({"a": {"path": "p", "bytes": 1.5, "checksum": "0123456789abcdef", "sampled": false}})"})
    EXPECT_ERROR(parse_source_records(text, "my.json"), "my.json");
}

TEST(SourceRecords, NameWhatDiffers) {
  const SourceRecord a{"p", 3, 10, false}, b{"q", 3, 11, false}, moved{"r", 3, 10, false};
  EXPECT_TRUE(source_differences({{"x", a}}, {{"x", moved}}).empty());
  const auto lines =
      source_differences({{"x", a}, {"y", a}, {"z", a}}, {{"x", b}, {"y", a}, {"w", a}});
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0],
            "x: was 3 bytes with the checksum 000000000000000a ('p'), is 3 bytes with the checksum "
            "000000000000000b ('q')");
  EXPECT_EQ(lines[1], "z: was 3 bytes with the checksum 000000000000000a ('p'), names no file now");
  EXPECT_EQ(lines[2], "w: named no file, is 3 bytes with the checksum 000000000000000a ('p')");
}

TEST_F(SourceFiles, WhoLooksOnceMoreIsWarned) {
  DataOptions options;
  options.domains.resize(1);
  options.domains[0].path = write("text", "as it was");
  const auto warning = [&] {
    testing::internal::CaptureStderr();
    warn_of_changed_sources(options, folder_.path());
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(warning(), "");  // nothing is known
  write(kSourcesFile,
        write_source_records({{"data.domains[0].path", record_source(options.domains[0].path)}}));
  EXPECT_EQ(warning(), "");
  write("text", "as it is.");
  EXPECT_PRED2(test::contains, warning(), "data.domains[0].path: was 9 bytes");
}

}  // namespace
}  // namespace moe::data
