// What verify_manifest refuses and what latest_checkpoint and prune make of it.

#include <filesystem>
#include <fstream>
#include <tests/support/message_of.h>
#include <tests/support/temporary_folder.h>

#include <gtest/gtest.h>

#include <moe/base/random.h>
#include <moe/checkpoint/checksum.h>
#include <moe/checkpoint/manifest.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/steps.h>

namespace moe::checkpoint {
namespace {

using test::TemporaryFolder;

void publish_two_files(const Path& target) {
  Publication publication(target);
  publication.add("a.bin", [](OutputFile& out) { out.write(bytes_of("alpha")); });
  publication.add("b.bin", [](OutputFile& out) { out.write(bytes_of("beta")); });
  publication.finish({{"step", "7"}, {"kind", "decoder"}});
}

void overwrite(const Path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::string manifest_text(const Path& folder) {
  return read_file(real_files(), folder / kManifestName, 1 << 20);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Checksum, IsXxh3OfTheWholeWhateverThePieces) {
  EXPECT_EQ(checksum_text(checksum_of("")),
            "2d06800538d394c2");  // published value of XXH3_64bits("")
  const std::string text(3000, 'x');
  Checksum pieces;
  pieces.update(bytes_of(text).first(1));
  pieces.update(bytes_of(text).subspan(1));
  EXPECT_EQ(pieces.value(), checksum_of(text));
  EXPECT_EQ(parse_checksum("2d06800538d394c2"), checksum_of(""));
  for (const char* wrong : {"", "2D06800538D394C2", "2d06800538d394c", "2d06800538d394c2 ", "-1"})
    EXPECT_FALSE(parse_checksum(wrong)) << wrong;
}

TEST(Manifest, KeepsFilesAndMetadata) {
  const TemporaryFolder folder;
  publish_two_files(folder / "c");
  const auto manifest = verify_manifest(folder / "c");
  EXPECT_EQ(manifest.metadata.at("step"), "7");
  EXPECT_EQ(manifest.metadata.at("kind"), "decoder");
  EXPECT_EQ(manifest.files.at("a.bin").size, 5);
  EXPECT_EQ(manifest.files.at("b.bin").checksum, checksum_of("beta"));
}

TEST(Manifest, ListsEveryFileThatDiffers) {
  const TemporaryFolder folder;
  publish_two_files(folder / "c");
  overwrite(folder / "c" / "a.bin", "alphA");
  EXPECT_NO_THROW(check_sizes(folder / "c"));
  EXPECT_ERROR(verify_manifest(folder / "c"), "a.bin: corrupt");
  overwrite(folder / "c" / "a.bin", "al");
  EXPECT_ERROR(check_sizes(folder / "c"), "a.bin: 2 bytes, expected 5");
  std::filesystem::remove(folder / "c" / "b.bin");
  overwrite(folder / "c" / "extra", "");
  const auto message = test::message_of([&] { verify_manifest(folder / "c"); });
  for (const char* part : {"a.bin: 2 bytes", "b.bin: missing", "'extra': not listed", "got 3"})
    EXPECT_TRUE(test::contains(message, part)) << message;
  std::filesystem::create_symlink("/dev/zero", folder / "c" / "b.bin");
  EXPECT_ERROR(verify_manifest(folder / "c"), "b.bin: not a regular file");
  std::filesystem::remove(folder / "c" / kManifestName);
  EXPECT_ERROR(verify_manifest(folder / "c"), "manifest.json', got none");
}

TEST(Manifest, RefusesHostileText) {
  const TemporaryFolder folder;
  publish_two_files(folder / "c");
  const std::string good = manifest_text(folder / "c");
  const auto refuses = [&](const std::string& text, const std::string& part) {
    overwrite(folder / "c" / kManifestName, text);
    EXPECT_ERROR(verify_manifest(folder / "c"), part) << text;
  };
  refuses(replaced(good, "a.bin", "../a.bin"), "plain file names");
  refuses(replaced(good, "a.bin", "/etc/passwd"), "plain file names");
  refuses(replaced(good, "a.bin", ".."), "plain file names");
  refuses(replaced(good, "a.bin", "a\\u0000"), "plain file names");
  refuses(replaced(good, "a.bin", "b.bin"), "twice");
  refuses(replaced(good, "\"7\"", "\"8\""), "states of itself");
  refuses(replaced(good, "\"7\"", "7"), "expected strings in the metadata");
  refuses(replaced(good, "\"size\": 5", "\"size\": -5"), "whole number");
  refuses(replaced(good, "\"size\": 5", "\"size\": 5e99"), "whole number");
  refuses(replaced(good, "\"version\": 1", "\"version\": 2"), "Use the version of moe");
  refuses(replaced(good, "moe-checkpoint", "other"), "Name a checkpoint folder");
  refuses(replaced(good, "\"files\"", "\"flies\""), "'files'");
  refuses(good + "x", "valid JSON");
  refuses(good.substr(0, good.size() / 2), "valid JSON");
  refuses("[]", "begins with '{'");
  refuses("", "nothing");
  refuses("{" + std::string(1000, '['), "valid JSON");
  refuses("{\"a\":" + std::string(1000, '['), "nested levels");
  overwrite(folder / "c" / kManifestName, good);
  EXPECT_NO_THROW(verify_manifest(folder / "c"));
}

TEST(Manifest, RandomDamageIsNoticedOrHarmless) {
  const TemporaryFolder folder;
  publish_two_files(folder / "c");
  const std::string good = manifest_text(folder / "c");
  const RandomStream random({3}, Purpose::kTest);
  size_t refused = 0;
  for (uint64_t round = 0; round < 2000; ++round) {
    std::string text = good;
    text[random.below(3 * round, text.size())] = static_cast<char>(random.bits(3 * round + 1));
    overwrite(folder / "c" / kManifestName, text);
    try {
      const auto manifest = verify_manifest(folder / "c");
      EXPECT_EQ(manifest.metadata.at("step"), "7");  // only white space was hit
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(Steps, NamesRoundTripAndNothingElseCounts) {
  EXPECT_EQ(step_folder(123), "step-000123");
  EXPECT_EQ(step_folder(12345678), "step-12345678");
  EXPECT_EQ(parse_step("step-000123"), 123);
  EXPECT_EQ(parse_step("step-12345678"), 12345678);
  for (const char* name : {"step-", "step-123", "step-0000123", "step--00001", "step-00012x",
                           "Step-000123", "step-99999999999999999999999", ".tmp-step-000123"})
    EXPECT_FALSE(parse_step(name)) << name;
}

TEST(Steps, FoldersComeNewestFirstWhateverIsInThem) {
  const TemporaryFolder folder;
  EXPECT_TRUE(step_folders(folder / "none").empty());
  for (const uint64_t step : {9, 1000000}) publish_two_files(folder / step_folder(step));
  make_folders(real_files(), folder / "step-000010");
  make_folders(real_files(), folder / ".old-step-000011");
  make_folders(real_files(), folder / ".tmp-step-000012");
  EXPECT_EQ(step_folders(folder.path()),
            (std::vector<Path>{folder / "step-1000000", folder / ".old-step-000011",
                               folder / "step-000010", folder / "step-000009"}));
  EXPECT_EQ(step_of(folder / "step-1000000"), 1000000);
  EXPECT_EQ(step_of(folder / ".old-step-000011"), 11);
  EXPECT_ERROR(step_of(folder / "notes"), "expected a folder of a step");
}

TEST(Steps, LatestFallsBackOverDamagedOnesWithAWarning) {
  const TemporaryFolder folder;
  EXPECT_FALSE(latest_checkpoint(folder / "none"));
  EXPECT_FALSE(latest_checkpoint(folder.path()));
  for (const uint64_t step : {9, 10, 1000000}) publish_two_files(folder / step_folder(step));
  make_folders(real_files(), folder / ".tmp-step-2000000");
  make_folders(real_files(), folder / "notes");
  EXPECT_EQ(latest_checkpoint(folder.path()), folder / "step-1000000");
  overwrite(folder / "step-1000000" / "a.bin", "alphA");
  testing::internal::CaptureStderr();
  EXPECT_EQ(latest_checkpoint(folder.path()), folder / "step-000010");
  const std::string warning = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(test::contains(warning, "step-1000000")) << warning;
  EXPECT_TRUE(test::contains(warning, "a.bin: corrupt")) << warning;
}

TEST(Steps, LatestFindsTheOldFolderOfAHalfDoneReplacement) {
  const TemporaryFolder folder;
  publish_two_files(folder / "step-000001");
  std::filesystem::rename(folder / "step-000001", folder / ".old-step-000001");
  EXPECT_EQ(latest_checkpoint(folder.path()), folder / ".old-step-000001");
  EXPECT_EQ(locate_checkpoint(folder / "step-000001"), folder / ".old-step-000001");
  EXPECT_ERROR(locate_checkpoint(folder / "step-000002"), "got nothing");
  publish_two_files(folder / "step-000002");  // any publish puts it back
  EXPECT_EQ(real_files().list(folder.path()),
            (std::vector<std::string>{"step-000001", "step-000002"}));
}

TEST(Steps, LatestIsOfThoseWanted) {
  const TemporaryFolder folder;
  for (const uint64_t step : {3, 4, 6}) publish_two_files(folder / step_folder(step));
  const auto even = [](uint64_t step) { return step % 4 == 0; };
  EXPECT_EQ(latest_checkpoint(folder.path(), real_files(), even), folder / "step-000004");
  EXPECT_FALSE(latest_checkpoint(folder.path(), real_files(), [](uint64_t) { return false; }));
}

TEST(Steps, RemoveBehindLeavesWhatIsNotBehind) {
  const TemporaryFolder folder;
  for (const uint64_t step : {3, 4, 6, 7}) publish_two_files(folder / step_folder(step));
  std::filesystem::rename(folder / "step-000006", folder / ".old-step-000006");
  make_folders(real_files(), folder / "notes");
  EXPECT_EQ(remove_behind(folder.path(), 4),
            (std::vector<std::string>{"step-000007", ".old-step-000006"}));
  EXPECT_EQ(real_files().list(folder.path()),
            (std::vector<std::string>{"notes", "step-000003", "step-000004"}));
  EXPECT_TRUE(remove_behind(folder.path(), 4).empty());
  EXPECT_TRUE(remove_behind(folder / "none", 4).empty());
}

TEST(Steps, PruneKeepsTheNewestWholeOnesAndTheProtected) {
  const TemporaryFolder folder;
  for (uint64_t step = 1; step <= 6; ++step) publish_two_files(folder / step_folder(step));
  std::filesystem::remove(folder / "step-000006" / "a.bin");
  testing::internal::CaptureStderr();
  const auto removed = prune(folder.path(), 2, {"step-000002"});
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(removed, (std::vector<std::string>{"step-000003", "step-000001"}));
  EXPECT_EQ(real_files().list(folder.path()),
            (std::vector<std::string>{"step-000002", "step-000004", "step-000005", "step-000006"}));
  EXPECT_THROW(prune(folder.path(), 0), ConfigError);
}

}  // namespace
}  // namespace moe::checkpoint
