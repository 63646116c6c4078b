// A checkpoint folder loads whole, old or new, when the power goes: what was not synced may be lost
// or garbage.

#include <algorithm>
#include <cerrno>
#include <tests/checkpoint/publishing.h>
#include <tests/support/faulty_files.h>
#include <tests/support/memory_files.h>
#include <tests/support/message_of.h>

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
using published::Scenario;
using published::whole_version;
using test::Crash;
using test::FaultyFiles;
using test::MemoryFiles;

/// Calls `examine` with what may be left on the disk after a power cut now.
void for_each_crash(const MemoryFiles& files, uint64_t seed,
                    const std::function<void(MemoryFiles&)>& examine) {
  for (uint64_t variant = 0; variant < 24; ++variant) {
    const RandomStream random({seed, variant}, Purpose::kTest);
    uint64_t draws = 0;
    MemoryFiles survivor = files;
    survivor.crash([&](size_t count) -> size_t {
      if (variant == 0) return 0;
      if (variant == 1) return count - 1;
      return random.below(draws++, count);
    });
    SCOPED_TRACE(concat("crash variant ", variant));
    examine(survivor);
  }
}

/// Cuts the power before call 0, 1, 2, … of the second publish. Counts the survivors in which no
/// version is whole.
size_t broken_crashes(const Scenario& scenario, const FaultyFiles::Decide& also = {}) {
  const Path parent = "/checkpoints";
  size_t broken = 0;
  for (size_t k = 0;; ++k) {
    MemoryFiles files;
    publish(files, parent / "step-000001", 1);
    FaultyFiles faulty(files, [&](size_t index, std::string_view call) {
      if (index == k) return FaultyFiles::kCrash;
      return also ? also(index, call) : FaultyFiles::kPass;
    });
    faulty.exchange_supported = scenario.exchange;
    bool finished = false;
    try {
      publish(faulty, parent / scenario.target, 2);
      finished = true;
    } catch (const Crash&) {
    }
    for_each_crash(files, k, [&](MemoryFiles& survivor) {
      try {
        const Path first = locate_checkpoint(parent / "step-000001", survivor);
        verify_manifest(first, survivor);
        const uint64_t version = latest_version(survivor, parent);
        // What finish() confirmed survives any later power cut.
        broken += finished ? version != 2 : version != 1 && version != 2;
        publish(survivor, parent / scenario.target, 3);
        survivor.crash([](size_t) { return 0; });
        broken += latest_version(survivor, parent) != 3;
      } catch (const Error&) {
        ++broken;
      }
    });
    if (finished) return broken;
  }
}

TEST(Publish, APowerCutAnywhereLeavesAWholeCheckpoint) {
  for (const auto& scenario : kScenarios) EXPECT_EQ(broken_crashes(scenario), 0) << scenario.name;
}

// A failing call and then a power cut, at once or anywhere in the next publish: what the failed one
// replaced must not be removed before the replacement has reached the disk.
TEST(Publish, APowerCutAfterAFailureLeavesAWholeCheckpoint) {
  const Path parent = "/checkpoints";
  for (const auto& scenario : kScenarios) {
    bool failed = true;
    for (size_t k = 0; failed; ++k) {
      MemoryFiles after_fault;
      publish(after_fault, parent / "step-000001", 1);
      FaultyFiles faulty(after_fault,
                         [&](size_t index, std::string_view) { return index == k ? EIO : 0; });
      faulty.exchange_supported = scenario.exchange;
      failed = !test::message_of([&] { publish(faulty, parent / scenario.target, 2); }).empty();
      bool finished = false;
      for (size_t j = 0; !finished; ++j) {
        SCOPED_TRACE(concat(scenario.name, ", fault at ", k, ", power cut at ", j));
        MemoryFiles files = after_fault;
        FaultyFiles crashing(files, [&](size_t index, std::string_view) {
          return index == j ? FaultyFiles::kCrash : FaultyFiles::kPass;
        });
        crashing.exchange_supported = scenario.exchange;
        try {
          publish(crashing, parent / scenario.target, 3);
          finished = true;
        } catch (const Crash&) {
        }
        for (size_t outcome = 0; outcome < 3; ++outcome) {
          MemoryFiles survivor = files;
          survivor.crash([&](size_t count) { return std::min(outcome, count - 1); });
          ASSERT_NO_THROW(
              verify_manifest(locate_checkpoint(parent / "step-000001", survivor), survivor));
          ASSERT_GE(latest_version(survivor, parent), finished ? 3 : 1);
        }
      }
    }
  }
}

// The model of a crash must be able to tell a right order of syncs from a wrong one.
TEST(Publish, TheCrashModelNoticesMissingSyncs) {
  const auto without = [](std::string_view skipped) {
    return [=](size_t, std::string_view call) {
      return call == skipped ? FaultyFiles::kSkip : FaultyFiles::kPass;
    };
  };
  testing::internal::CaptureStderr();  // the warnings about damaged checkpoints are expected
  const size_t without_files = broken_crashes(kScenarios[1], without("sync"));
  const size_t without_folders = broken_crashes(kScenarios[1], without("sync_folder"));
  testing::internal::GetCapturedStderr();
  EXPECT_GT(without_files, 0);
  EXPECT_GT(without_folders, 0);
}

TEST(Publish, APowerCutDuringTheFirstPublishLeavesNothingOrAll) {
  for (size_t k = 0;; ++k) {
    MemoryFiles files;
    FaultyFiles faulty(files, [&](size_t index, std::string_view) {
      return index == k ? FaultyFiles::kCrash : FaultyFiles::kPass;
    });
    bool finished = false;
    try {
      publish(faulty, "/a/b/checkpoints/step-000001", 1);
      finished = true;
    } catch (const Crash&) {
    }
    for_each_crash(files, k, [&](MemoryFiles& survivor) {
      const uint64_t version = latest_version(survivor, "/a/b/checkpoints");
      EXPECT_TRUE(version == 1 || (version == 0 && !finished)) << version << " at call " << k;
    });
    if (finished) break;
  }
}

TEST(Publish, APowerCutDuringPruneLeavesOnlyWholeStepFolders) {
  const Path parent = "/checkpoints";
  MemoryFiles before;
  for (uint64_t step = 1; step <= 5; ++step) publish(before, parent / step_folder(step), step);
  for (size_t k = 0;; ++k) {
    MemoryFiles files = before;
    FaultyFiles faulty(files, [&](size_t index, std::string_view) {
      return index == k ? FaultyFiles::kCrash : FaultyFiles::kPass;
    });
    bool finished = false;
    try {
      prune(parent, 2, {}, faulty);
      finished = true;
    } catch (const Crash&) {
    }
    for_each_crash(files, k, [&](MemoryFiles& survivor) {
      EXPECT_EQ(latest_version(survivor, parent), 5);
      for (const auto& name : survivor.list(parent))
        if (parse_step(name)) {
          EXPECT_NO_THROW(whole_version(survivor, parent / name)) << name;
        }
      publish(survivor, parent / "step-000006", 6);
      EXPECT_FALSE(has_leftovers(survivor, parent));
    });
    if (finished) break;
  }
}

}  // namespace
}  // namespace moe::checkpoint
