// Checkpoints that several ranks write, and what is left when one of them fails.
#include <atomic>

#include <gtest/gtest.h>

#include <moe/checkpoint/steps.h>
#include <moe/checkpoint/together.h>
#include <moe/parallel/threads.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::test::together_test {
namespace {

using Group = std::shared_ptr<parallel::Communicator>;
using checkpoint::FolderWriter;

constexpr int64_t kRanks = 3;

void add_text(FolderWriter& writer, const std::string& name, const std::string& text) {
  writer.add(name, [&](OutputFile& out) { out.write(bytes_of(text)); });
}

/// Each rank writes two files with `text` in them, and the first one more.
void write_text(FolderWriter& writer, int64_t rank, const std::string& text) {
  if (rank == 0) add_text(writer, "config", text);
  for (const char* part : {"a", "b"}) add_text(writer, concat(part, rank), concat(text, rank));
}

void publish(const Path& target, const std::string& text, FileSystem& files = real_files()) {
  parallel::run_ranks(kRanks, [&](const Group& world) {
    checkpoint::publish_together(
        target, *world, [&](FolderWriter& writer) { write_text(writer, world->rank(), text); },
        {{"text", text}}, files);
  });
}

std::string content(const Path& folder, const std::string& name) {
  return read_file(real_files(), folder / name, 1000);
}

TEST(Together, MakeOneCheckpointOfWhatAllRanksWrite) {
  const TemporaryFolder folder;
  const Path target = folder.path() / "step-000001";
  publish(target, "first");
  publish(target, "second");
  const auto manifest = checkpoint::verify_manifest(target);
  EXPECT_EQ(manifest.files.size(), 7);
  EXPECT_EQ(manifest.metadata.at("text"), "second");
  EXPECT_EQ(content(target, "b2"), "second2");
  EXPECT_EQ(real_files().list(folder.path()), std::vector<std::string>{"step-000001"});
}

/// Fails the calls of one thread, a rank, from number `begin` on.
class FailingFiles final : public FileSystem {
 public:
  explicit FailingFiles(int64_t begin) : begin_(begin) {}

  std::unique_ptr<OutputFile> create(const Path& path) override { return call().create(path); }
  bool make_folder(const Path& path) override { return call().make_folder(path); }
  void sync_folder(const Path& folder) override { call().sync_folder(folder); }
  void rename(const Path& from, const Path& to) override { call().rename(from, to); }
  bool exchange(const Path& a, const Path& b) override { return call().exchange(a, b); }
  void remove(const Path& path) override { call().remove(path); }
  FileKind kind(const Path& path) override { return call().kind(path); }
  std::vector<std::string> list(const Path& folder) override { return call().list(folder); }
  uint64_t size(const Path& file) override { return call().size(file); }
  void read(const Path& file,
            const std::function<void(std::span<const std::byte>)>& take) override {
    call().read(file, take);
  }
  bool failed() const { return calls_ > begin_; }

 private:
  FileSystem& call() {
    if (calls_++ >= begin_) fail("test", "no space left.");
    return real_files();
  }

  int64_t begin_, calls_ = 0;
};

TEST(Together, LeaveTheOldCheckpointWholeWhereverOneRankFails) {
  for (const int64_t failing : {0, 2}) {
    bool went_through = false;
    for (int64_t at_call = 0; !went_through; ++at_call) {
      SCOPED_TRACE(concat("rank ", failing, " fails at call ", at_call));
      ASSERT_LT(at_call, 200);
      const TemporaryFolder folder;
      const Path target = folder.path() / "step-000001";
      publish(target, "old");
      std::vector<std::string> messages(kRanks);
      FailingFiles bad(at_call);
      parallel::run_ranks(kRanks, [&](const Group& world) {
        messages[static_cast<size_t>(world->rank())] = message_of([&] {
          FileSystem& files = world->rank() == failing ? bad : real_files();
          checkpoint::publish_together(
              target, *world,
              [&](FolderWriter& writer) { write_text(writer, world->rank(), "new"); }, {}, files);
        });
      });
      went_through = !bad.failed();
      const auto whole = checkpoint::latest_checkpoint(folder.path());
      ASSERT_TRUE(whole);
      const std::string held = content(*whole, "config");
      for (const auto& [name, file] : checkpoint::verify_manifest(*whole).files)
        EXPECT_TRUE(content(*whole, name).starts_with(held)) << name;
      EXPECT_TRUE(held == "old" || held == "new");
      for (int64_t rank = 0; rank < kRanks; ++rank) {
        const auto& message = messages[static_cast<size_t>(rank)];
        if (message.empty()) {
          EXPECT_EQ(held, "new") << "rank " << rank << " thinks that it was written";
          continue;
        }
        EXPECT_PRED2(contains, message, "no space left");
        if (rank != failing) {
          EXPECT_PRED2(contains, message, concat("rank ", failing, ": "));
        }
      }
      // Whatever was left behind, the next one goes through.
      publish(target, "next");
      EXPECT_EQ(content(target, "a1"), "next1");
      EXPECT_EQ(real_files().list(folder.path()), std::vector<std::string>{"step-000001"});
    }
  }
}

TEST(Together, LeaveTheOldCheckpointWholeWhereARankIsGone) {
  const TemporaryFolder folder;
  const Path target = folder.path() / "step-000001";
  publish(target, "old");
  EXPECT_THROW(parallel::run_ranks(kRanks,
                                   [&](const Group& world) {
                                     if (world->rank() == 1) throw std::runtime_error("killed");
                                     checkpoint::publish_together(
                                         target, *world,
                                         [&](FolderWriter& writer) {
                                           write_text(writer, world->rank(), "new");
                                         },
                                         {});
                                   }),
               std::runtime_error);
  EXPECT_EQ(content(target, "config"), "old");
  checkpoint::verify_manifest(target);
}

TEST(Together, RefuseTwoFilesOfOneNameAndFoldersThatOthersDoNotSee) {
  const TemporaryFolder folder, elsewhere;
  const auto message_of_all = [&](const std::function<void(const Group&)>& work) {
    std::vector<std::string> out(kRanks);
    parallel::run_ranks(kRanks, [&](const Group& world) {
      out[static_cast<size_t>(world->rank())] = message_of([&] { work(world); });
    });
    return out;
  };
  for (const auto& message : message_of_all([&](const Group& world) {
         checkpoint::publish_together(
             folder.path() / "same", *world,
             [&](FolderWriter& writer) { add_text(writer, "same", "text"); }, {});
       }))
    EXPECT_PRED2(contains, message, "got 'same' from two");
  const auto unseen = message_of_all([&](const Group& world) {
    const Path own = (world->rank() == 2 ? elsewhere.path() : folder.path()) / "own";
    checkpoint::publish_together(
        own, *world, [&](FolderWriter& writer) { write_text(writer, world->rank(), "text"); }, {});
  });
  for (const auto& message : unseen)
    EXPECT_PRED2(contains, message, "Let all ranks write to one file system");
  EXPECT_TRUE(real_files().list(folder.path()).empty());
  EXPECT_TRUE(real_files().list(elsewhere.path()).empty());
}

}  // namespace
}  // namespace moe::test::together_test
