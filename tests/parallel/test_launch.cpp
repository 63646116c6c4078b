// What the environment says of a launcher.

#include <map>
#include <string>

#include <gtest/gtest.h>

#include <moe/parallel/launch.h>

namespace moe::test {
namespace {

std::optional<parallel::Launch> launch(const std::map<std::string, std::string>& variables) {
  return parallel::launch_of([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

void expect(const std::optional<parallel::Launch>& found, const std::string& launcher, int64_t rank,
            int64_t ranks) {
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->launcher, launcher);
  EXPECT_EQ(found->rank, rank);
  EXPECT_EQ(found->ranks, ranks);
}

TEST(Launch, ReadsWhatLaunchersSay) {
  expect(launch({{"OMPI_COMM_WORLD_RANK", "2"}, {"OMPI_COMM_WORLD_SIZE", "4"}}), "mpirun", 2, 4);
  expect(launch({{"PMI_RANK", "0"}, {"PMI_SIZE", "3"}}), "mpirun", 0, 3);
  expect(launch({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}}), "srun", 1, 2);
  // mpirun in a job of Slurm.
  expect(launch({{"SLURM_PROCID", "0"},
                 {"SLURM_STEP_NUM_TASKS", "1"},
                 {"OMPI_COMM_WORLD_RANK", "3"},
                 {"OMPI_COMM_WORLD_SIZE", "8"}}),
         "mpirun", 3, 8);
}

TEST(Launch, FindsNoneInABatchScriptAndElsewhere) {
  EXPECT_FALSE(launch({}).has_value());
  EXPECT_FALSE(launch({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}).has_value());
  EXPECT_FALSE(launch({{"PMI_RANK", ""}, {"PMI_SIZE", "two"}}).has_value());
  EXPECT_FALSE(launch({{"PMI_RANK", "4"}, {"PMI_SIZE", "4"}}).has_value());
  EXPECT_FALSE(launch({{"PMI_RANK", "-1"}, {"PMI_SIZE", "4"}}).has_value());
}

}  // namespace
}  // namespace moe::test
