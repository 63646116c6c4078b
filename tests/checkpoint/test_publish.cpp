// A checkpoint folder loads whole, old or new, when calls fail and when the process is killed.

#include <atomic>
#include <cerrno>
#include <fstream>
#include <set>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <tests/checkpoint/publishing.h>
#include <tests/support/faulty_files.h>
#include <tests/support/memory_files.h>
#include <tests/support/message_of.h>
#include <tests/support/temporary_folder.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <moe/base/random.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/steps.h>

namespace moe::checkpoint {
namespace {

using published::has_leftovers;
using published::kScenarios;
using published::latest_version;
using published::publish;
using published::whole_version;
using test::FaultyFiles;
using test::MemoryFiles;
using test::TemporaryFolder;

/// Fails call 0, 1, 2, … of the second publish until it goes through; after each, 1 or 2 must be
/// whole, and 3 follows.
template <class MakeFiles>
void fail_everywhere(MakeFiles make_files, bool after_effect) {
  for (const auto& scenario : kScenarios) {
    size_t faults = 0;
    for (size_t k = 0;; ++k) {
      SCOPED_TRACE(concat(scenario.name, ", fault at call ", k, after_effect ? " after it" : ""));
      auto [files_ptr, parent] = make_files();
      FileSystem& files = *files_ptr;
      publish(files, parent / "step-000001", 1);
      FaultyFiles faulty(
          files, [&](size_t index, std::string_view) { return index == k ? ENOSPC : 0; },
          after_effect);
      faulty.exchange_supported = scenario.exchange;
      const auto message = test::message_of([&] { publish(faulty, parent / scenario.target, 2); });
      const uint64_t version = latest_version(files, parent);
      if (message.empty()) {
        EXPECT_EQ(version, 2);
        if (faulty.calls() <= k) break;
      } else {
        ++faults;
        EXPECT_TRUE(version == 1 || version == 2) << version;
        EXPECT_TRUE(test::contains(message, "free space")) << message;
      }
      EXPECT_NO_THROW(whole_version(files, locate_checkpoint(parent / "step-000001", files)));
      publish(files, parent / scenario.target, 3);
      EXPECT_EQ(latest_version(files, parent), 3);
      EXPECT_FALSE(has_leftovers(files, parent));
      if (testing::Test::HasFailure()) return;
    }
    EXPECT_GT(faults, 20);
  }
}

TEST(Publish, AnyFailingCallLeavesAWholeCheckpointInMemory) {
  const auto in_memory = [] {
    return std::pair(std::make_unique<MemoryFiles>(), Path("/checkpoints"));
  };
  fail_everywhere(in_memory, false);
  fail_everywhere(in_memory, true);
}

TEST(Publish, AnyFailingCallLeavesAWholeCheckpointOnDisk) {
  const TemporaryFolder folder;
  int run = 0;
  const auto on_disk = [&] {
    return std::pair(&real_files(), folder / concat("run-", run++) / "checkpoints");
  };
  fail_everywhere(on_disk, false);
}

/// A number that a process and its children see.
class SharedCount {
 public:
  SharedCount()
      : count_(static_cast<std::atomic<uint64_t>*>(mmap(nullptr, sizeof(std::atomic<uint64_t>),
                                                        PROT_READ | PROT_WRITE,
                                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~SharedCount() { munmap(count_, sizeof *count_); }
  SharedCount(const SharedCount&) = delete;
  SharedCount& operator=(const SharedCount&) = delete;
  std::atomic<uint64_t>& operator*() { return *count_; }

 private:
  std::atomic<uint64_t>* count_;
};

/// Publishes new steps and replaces them until killed; counts the first publications of each.
[[noreturn]] void publish_forever(FileSystem& files, const Path& parent, uint64_t step,
                                  std::atomic<uint64_t>& published) {
  try {
    for (;; ++step) {
      publish(files, parent / step_folder(step), 2 * step);
      ++published;
      publish(files, parent / step_folder(step), 2 * step + 1);
      prune(parent, 3, {}, files);
    }
  } catch (...) {
    _exit(3);
  }
}

TEST(Publish, AKilledProcessLeavesAWholeCheckpoint) {
  for (const bool exchange : {true, false}) {
    const TemporaryFolder folder;
    FaultyFiles files(real_files(), [](size_t, std::string_view) { return 0; });
    files.exchange_supported = exchange;
    const RandomStream random({7, exchange}, Purpose::kTest);
    uint64_t last = 0;
    for (int kill = 0; kill < 120; ++kill) {
      SCOPED_TRACE(concat("kill ", kill, exchange ? " with exchange" : " with two renames"));
      SharedCount published;
      const pid_t child = fork();
      ASSERT_GE(child, 0);
      if (child == 0) publish_forever(files, folder.path(), last / 2 + 1, *published);
      // Every other one when it is through with something, however slow the machine is.
      for (int wait = 0; kill % 2 == 0 && *published == 0 && wait < 10'000; ++wait) usleep(1000);
      usleep(static_cast<useconds_t>(random.below(kill, 15'000)));
      ASSERT_EQ(::kill(child, SIGKILL), 0);
      int status = 0;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed by itself: " << status;
      const auto latest = latest_checkpoint(folder.path());
      const uint64_t version = latest ? whole_version(real_files(), *latest) : 0;
      ASSERT_GE(version, last);
      // No step folder is ever half there, not only the newest.
      for (const auto& name : real_files().list(folder.path()))
        if (parse_step(name)) {
          ASSERT_NO_THROW(whole_version(real_files(), folder / name)) << name;
        }
      last = version;
    }
    EXPECT_GT(last, 20) << "the child was killed too early to publish anything";
  }
}

TEST(Publish, AFullDiskIsNamedAndKeepsTheOldCheckpoint) {
  const TemporaryFolder folder;
  publish(real_files(), folder / "step-000001", 1);
  FaultyFiles full(real_files(), [](size_t, std::string_view call) {
    return call == "write" ? ENOSPC : FaultyFiles::kPass;
  });
  EXPECT_ERROR(publish(full, folder / "step-000001", 2), "free space");
  EXPECT_EQ(latest_version(real_files(), folder.path()), 1);
  EXPECT_FALSE(has_leftovers(real_files(), folder.path())) << "what was half written takes space";
}

TEST(Publish, AReadOnlyFolderIsNamedAndKeepsTheOldCheckpoint) {
  const TemporaryFolder folder;
  publish(real_files(), folder / "step-000001", 1);
  const std::set<std::string_view> reading = {"kind", "list", "size", "read"};
  for (const auto& [error, remedy] :
       {std::pair(EROFS, "read-only"), std::pair(EACCES, "permission")}) {
    FaultyFiles read_only(real_files(), [&](size_t, std::string_view call) {
      return reading.contains(call) ? FaultyFiles::kPass : error;
    });
    EXPECT_ERROR(publish(read_only, folder / "step-000002", 2), remedy);
    EXPECT_EQ(latest_version(real_files(), folder.path()), 1);
  }
}

TEST(Publish, AnUnfinishedPublicationLeavesNothing) {
  const TemporaryFolder folder;
  {
    Publication publication(folder / "step-000001");
    publication.add("weights.bin", [](OutputFile& out) { out.write(bytes_of("abc")); });
  }
  EXPECT_TRUE(real_files().list(folder.path()).empty());
}

TEST(Publish, AFailedFileForbidsFinish) {
  const TemporaryFolder folder;
  Publication publication(folder / "step-000001");
  EXPECT_THROW(publication.add("weights.bin", [](OutputFile&) { fail("test", "no"); }), Error);
  EXPECT_ERROR(publication.finish({}), "failed file");
}

TEST(Publish, ForeignFoldersAndNamesAreRefused) {
  const TemporaryFolder folder;
  make_folders(real_files(), folder / "home");
  std::ofstream(folder / "home" / "diary.txt") << "dear diary";
  std::ofstream(folder / "file") << "x";
  EXPECT_ERROR(Publication(folder / "home"), "something else");
  EXPECT_ERROR(Publication(folder / "file"), "something else");
  EXPECT_ERROR(Publication(folder / ".."), "plain name");
  EXPECT_ERROR(Publication(folder / ".hidden"), "plain name");
  EXPECT_TRUE(real_files().exists(folder / "home" / "diary.txt"));

  Publication publication(folder / "model/");
  const auto nothing = [](OutputFile&) {};
  for (const char* name :
       {"", ".", "..", "../x", "a/b", "/x", "a\\b", ".x", "manifest.json", "a\n"})
    EXPECT_ERROR(publication.add(name, nothing), "plain file name") << name;
  publication.add("x", nothing);
  EXPECT_ERROR(publication.add("x", nothing), "new to checkpoint");
  publication.finish({});
  EXPECT_EQ(verify_manifest(folder / "model").files.at("x").size, 0);
}

TEST(Publish, OtherHiddenNamesInTheParentAreLeftAlone) {
  const TemporaryFolder folder;
  make_folders(real_files(), folder / ".tmp-download");
  make_folders(real_files(), folder / ".tmp-step-000007");
  publish(real_files(), folder / "model", 1);
  EXPECT_EQ(real_files().list(folder.path()), (std::vector<std::string>{".tmp-download", "model"}));
}

}  // namespace
}  // namespace moe::checkpoint
