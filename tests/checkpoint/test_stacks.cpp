// Checkpoints of stacks of experts, sharded or not, and of what has no memory yet. E experts.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <moe/checkpoint/tensors.h>
#include <moe/parallel/threads.h>

#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::test {
namespace {

using at::Tensor;
using Group = std::shared_ptr<parallel::Communicator>;

constexpr int64_t kExperts = 40;  // three files: 16, 16 and 8

/// A stack that ranks share out, one that each has whole, and a tensor of all tokens. The names say
/// nothing of it.
Parameters layer_of(parallel::Communicator& group) {
  const int64_t L = kExperts / group.size(), first = group.rank() * L;
  const Tensor whole = at::arange(kExperts * 3, at::kFloat).view({kExperts, 3});
  return {{"a",
           whole.slice(0, first, first + L).clone(),
           {.part = Part::kExperts, .per_expert = true, .sharded = true, .first_expert = first}},
          {"b", whole + 1000, {.part = Part::kExperts, .per_expert = true}},
          {"experts.c", at::full({2}, 5, at::kDouble), {}}};
}

void save(const Path& folder, int64_t ranks) {
  parallel::run_ranks(ranks, [&](const Group& group) {
    std::optional<checkpoint::Publication> publication;
    if (group->rank() == 0) publication.emplace(folder, real_files());
    checkpoint::add_tensors(publication ? &*publication : nullptr, "model", layer_of(*group),
                            *group);
    if (publication) publication->finish({});
  });
}

std::map<std::string, std::string> files_of(const Path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& [name, file] : checkpoint::verify_manifest(folder).files)
    out[name] = read_file(real_files(), folder / name, 1u << 20);
  return out;
}

TEST(Stacks, GoIntoFilesOfSixteenExpertsOnAnyNumberOfRanks) {
  const TemporaryFolder folder;
  for (const int64_t ranks : {1, 2, 4}) save(folder.path() / std::to_string(ranks), ranks);
  const auto expected = files_of(folder.path() / "1");
  std::vector<std::string> names;
  for (const auto& [name, content] : expected) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "model.a.0000-0015.safetensors", "model.a.0016-0031.safetensors",
                       "model.a.0032-0039.safetensors", "model.b.0000-0015.safetensors",
                       "model.b.0016-0031.safetensors", "model.b.0032-0039.safetensors",
                       "model.safetensors"}));
  EXPECT_EQ(files_of(folder.path() / "2"), expected);
  EXPECT_EQ(files_of(folder.path() / "4"), expected);
}

TEST(Stacks, AreReadBackOnAnyNumberOfRanks) {
  const TemporaryFolder folder;
  save(folder.path() / "saved", 2);
  for (const int64_t ranks : {1, 2, 4, 8})
    parallel::run_ranks(ranks, [&](const Group& group) {
      const Parameters expected = layer_of(*group);
      Parameters found = expected;
      for (auto& parameter : found) parameter.tensor = at::zeros_like(parameter.tensor);
      checkpoint::load_tensors(folder.path() / "saved", "model", found, *group);
      for (size_t i = 0; i < expected.size(); ++i)
        EXPECT_TRUE(at::equal(found[i].tensor, expected[i].tensor)) << expected[i].name;
    });
}

TEST(Stacks, WithoutMemoryAreGivenIt) {
  const TemporaryFolder folder;
  save(folder.path() / "saved", 1);
  parallel::run_ranks(2, [&](const Group& group) {
    const Parameters expected = layer_of(*group);
    Parameters found = expected;
    for (auto& parameter : found)
      parameter.tensor =
          at::empty(parameter.tensor.sizes(), parameter.tensor.options().device(at::kMeta));
    const Tensor handle = found[0].tensor;
    checkpoint::load_tensors(folder.path() / "saved", "model", found, *group);
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_TRUE(at::equal(found[i].tensor, expected[i].tensor)) << expected[i].name;
    EXPECT_TRUE(at::equal(handle, expected[0].tensor)) << "other handles must see the memory";
  });
}

TEST(Stacks, OfAnotherNumberOfExpertsAreRefusedBeforeAnythingIsCopied) {
  const TemporaryFolder folder;
  save(folder.path() / "saved", 1);
  Parameters found = layer_of(*parallel::local());
  for (auto& parameter : found) parameter.tensor = at::zeros_like(parameter.tensor);
  found[0].tensor = at::zeros({39, 3});
  EXPECT_ERROR(
      checkpoint::load_tensors(folder.path() / "saved", "model", found, *parallel::local()),
      "a: expected 39 on dimension 0, found 40");
  EXPECT_TRUE(found[1].tensor.eq(0).all().item<bool>());
}

}  // namespace
}  // namespace moe::test
