// The real file system behind files.h, and the helpers over any.

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <tests/support/faulty_files.h>
#include <tests/support/memory_files.h>
#include <tests/support/message_of.h>
#include <tests/support/temporary_folder.h>

#include <gtest/gtest.h>

#include <moe/base/files.h>

namespace moe {
namespace {

using test::TemporaryFolder;

Fill filling(const std::string& text) {
  return [text](OutputFile& out) { out.write(bytes_of(text)); };
}

std::string read_all(const Path& path) {
  return read_file(real_files(), path, 1 << 24);
}

TEST(Files, WriteThenReadGivesTheSameBytes) {
  const TemporaryFolder folder;
  const std::string large(3'000'001, 'x');  // more than one piece
  for (const std::string& text : {std::string(), std::string("a\0b\n", 4), large}) {
    write_file(real_files(), folder / "f", filling(text));
    EXPECT_EQ(read_all(folder / "f"), text);
    EXPECT_EQ(real_files().size(folder / "f"), text.size());
    const auto mapped = MappedFile::open(folder / "f");
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(mapped->bytes().data()),
                               mapped->bytes().size()),
              text);
  }
}

TEST(Files, ManySmallWritesFollowEachOther) {
  const TemporaryFolder folder;
  write_file(real_files(), folder / "f", [](OutputFile& out) {
    for (int i = 0; i < 1000; ++i) out.write(bytes_of(std::to_string(i) + ","));
    out.write({});
  });
  std::string expected;
  for (int i = 0; i < 1000; ++i) expected += std::to_string(i) + ",";
  EXPECT_EQ(read_all(folder / "f"), expected);
}

TEST(Files, MappedFileOutlivesItsName) {
  const TemporaryFolder folder;
  write_file(real_files(), folder / "f", filling("alive"));
  const auto mapped = MappedFile::open(folder / "f");
  real_files().remove(folder / "f");
  EXPECT_EQ(static_cast<char>(mapped->bytes()[4]), 'e');
}

TEST(Files, KindDoesNotFollowLinksAndRemoveAllLeavesTheirTargets) {
  const TemporaryFolder folder;
  make_folders(real_files(), folder / "kept" / "inner");
  make_folders(real_files(), folder / "doomed" / "inner");
  write_file(real_files(), folder / "kept" / "f", filling("x"));
  write_file(real_files(), folder / "doomed" / "inner" / "f", filling("x"));
  std::filesystem::create_directory_symlink(folder / "kept", folder / "doomed" / "link");
  auto& files = real_files();
  EXPECT_EQ(files.kind(folder / "doomed" / "link"), FileKind::kLink);
  EXPECT_EQ(files.kind(folder / "doomed"), FileKind::kFolder);
  EXPECT_EQ(files.kind(folder / "kept" / "f"), FileKind::kFile);
  EXPECT_EQ(files.kind(folder / "kept" / "f" / "g"), FileKind::kNone);
  EXPECT_EQ(files.kind("/dev/null"), FileKind::kOther);
  EXPECT_EQ(files.list(folder / "doomed"), (std::vector<std::string>{"inner", "link"}));
  remove_all(files, folder / "doomed");
  EXPECT_FALSE(files.exists(folder / "doomed"));
  EXPECT_TRUE(files.exists(folder / "kept" / "f"));
}

TEST(Files, MakeFoldersMakesTheMissingOnesAndAcceptsTheRest) {
  const TemporaryFolder folder;
  auto& files = real_files();
  make_folders(files, folder / "a" / "b" / "c/");
  make_folders(files, folder / "a" / "b" / "c");
  EXPECT_EQ(files.kind(folder / "a/b/c"), FileKind::kFolder);
  EXPECT_FALSE(files.make_folder(folder / "a"));
  EXPECT_TRUE(files.make_folder(folder / "z"));
  write_file(files, folder / "f", filling(""));
  EXPECT_ERROR(make_folders(files, folder / "f"), "is a file, not a folder");
  EXPECT_ERROR(make_folders(files, folder / "f" / "g"), "is a file, not a folder");
}

TEST(Files, FolderOfNamesTheParent) {
  EXPECT_EQ(folder_of("a"), ".");
  EXPECT_EQ(folder_of("a/"), ".");
  EXPECT_EQ(folder_of("a/b"), "a");
  EXPECT_EQ(folder_of("a/b/"), "a");
  EXPECT_EQ(folder_of("/a"), "/");
  EXPECT_EQ(folder_of("/a/"), "/");
  EXPECT_EQ(folder_of("/"), "/");
}

TEST(Files, ExchangeSwapsFoldersWhereSupported) {
  const TemporaryFolder folder;
  auto& files = real_files();
  for (const char* name : {"a", "b"}) {
    make_folders(files, folder / name);
    write_file(files, folder / name / "f", filling(name));
  }
  if (!files.exchange(folder / "a", folder / "b"))
    GTEST_SKIP() << "this file system cannot exchange names";
  EXPECT_EQ(read_all(folder / "a" / "f"), "b");
  EXPECT_EQ(read_all(folder / "b" / "f"), "a");
}

TEST(Files, ErrorsNamePathReasonAndRemedy) {
  const TemporaryFolder folder;
  auto& files = real_files();
  const std::string missing = (folder / "none" / "f").string();
  for (const auto& message : {
           test::message_of([&] { files.create(missing); }),
           test::message_of([&] { files.size(missing); }),
           test::message_of([&] { read_all(missing); }),
           test::message_of([&] { MappedFile::open(missing); }),
           test::message_of([&] { files.list(missing); }),
           test::message_of([&] { files.remove(missing); }),
           test::message_of([&] { files.rename(missing, folder / "x"); }),
           test::message_of([&] { files.sync_folder(missing); }),
           test::message_of([&] { files.make_folder(missing); }),
       })
    for (const std::string part :
         {"[base/files] cannot ", missing.c_str(), "No such file", "Check the path"})
      EXPECT_TRUE(test::contains(message, part)) << part << "\nin: " << message;
  EXPECT_ERROR(fail_file("write", "/x", ENOSPC), "free space");
  EXPECT_ERROR(fail_file("write", "/x", EROFS), "read-only: remount it writable or choose another");
  EXPECT_ERROR(fail_file("write", "/x", EACCES), "permission");
  EXPECT_ERROR(fail_file("open", "/x", EMFILE), "ulimit -n");
}

TEST(Files, DevicesPipesAndFoldersAreNotRead) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const Path& path : {folder.path(), folder / "pipe", Path("/dev/zero")}) {
    EXPECT_THROW(read_all(path), Error) << path;
    EXPECT_THROW(MappedFile::open(path), Error) << path;
  }
}

TEST(Files, ReadFileRefusesMoreThanItsLimit) {
  const TemporaryFolder folder;
  write_file(real_files(), folder / "f", filling("12345"));
  EXPECT_EQ(read_file(real_files(), folder / "f", 5), "12345");
  EXPECT_ERROR(read_file(real_files(), folder / "f", 4), "at most 4 bytes");
}

TEST(Files, AFullDeviceIsReported) {
  if (!real_files().exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  EXPECT_ERROR(real_files().create("/dev/full")->write(bytes_of("x")), "free space");
}

// Near a limit the system writes a part and reports its size: the rest must be tried, and its
// failure reported.
TEST(Files, AShortWriteIsContinuedUntilItFails) {
  const TemporaryFolder folder;
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {1000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto message = test::message_of(
      [&] { write_file(real_files(), folder / "f", filling(std::string(1500, 'x'))); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_TRUE(test::contains(message, "larger than a limit")) << message;
  EXPECT_EQ(real_files().size(folder / "f"), 1000);
}

TEST(Files, AtomicWriteKeepsOldOrNewAtEveryFault) {
  for (const bool after_effect : {false, true})
    for (size_t k = 0;; ++k) {
      SCOPED_TRACE(k);
      test::MemoryFiles files;
      write_file_atomically(files, "/f", filling("old"));
      test::FaultyFiles faulty(
          files, [&](size_t index, std::string_view) { return index == k ? EIO : 0; },
          after_effect);
      const auto message =
          test::message_of([&] { write_file_atomically(faulty, "/f", filling("new")); });
      const std::string content = read_file(files, "/f", 10);
      EXPECT_TRUE(content == "new" || (content == "old" && !message.empty())) << content;
      EXPECT_EQ(files.list("/"), (std::vector<std::string>{"f"})) << "left-over";
      if (message.empty() && faulty.calls() <= k) break;
    }
}

TEST(Files, AtomicWriteKeepsOldOrNewAtEveryPowerCut) {
  for (size_t k = 0;; ++k) {
    SCOPED_TRACE(k);
    test::MemoryFiles files;
    write_file_atomically(files, "/f", filling("old"));
    test::FaultyFiles faulty(files, [&](size_t index, std::string_view) {
      return index == k ? test::FaultyFiles::kCrash : test::FaultyFiles::kPass;
    });
    bool finished = false;
    try {
      write_file_atomically(faulty, "/f", filling("new"));
      finished = true;
    } catch (const test::Crash&) {
    }
    for (size_t outcome = 0; outcome < 5; ++outcome) {
      auto survivor = files;
      survivor.crash([&](size_t count) { return std::min(outcome, count - 1); });
      const std::string content = read_file(survivor, "/f", 10);
      EXPECT_TRUE(content == "new" || (content == "old" && !finished)) << content;
    }
    if (finished) break;
  }
}

}  // namespace
}  // namespace moe
