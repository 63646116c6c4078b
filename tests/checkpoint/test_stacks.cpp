// Checkpoints of stacks of experts, sharded or not, and of what has no memory yet. E experts.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <moe/checkpoint/tensors.h>
#include <moe/checkpoint/together.h>
#include <moe/parallel/threads.h>

#include "tests/checkpoint/saved_layers.h"
#include "tests/support/message_of.h"
#include "tests/support/temporary_folder.h"

namespace moe::test {
namespace {

using at::Tensor;
using Group = std::shared_ptr<parallel::Communicator>;

constexpr int64_t kExperts = 40;  // three files of one rank: 16, 16 and 8

/// A stack that ranks share out, one that each has whole, and a tensor of all tokens. The names say
/// nothing of it.
Parameters layer_of(const parallel::Layout& layout) {
  const auto [first, L] = layout.experts_of(kExperts);
  const Tensor whole = at::arange(kExperts * 3, at::kFloat).view({kExperts, 3});
  return {{"a",
           whole.slice(0, first, first + L).clone(),
           {.part = Part::kExperts,
            .per_expert = true,
            .sharded = true,
            .first_expert = first,
            .whole = kExperts}},
          {"b", whole + 1000, {.part = Part::kExperts, .per_expert = true}},
          {"experts.c", at::full({2}, 5, at::kDouble), {}}};
}

void save(const Path& folder, int64_t ranks, int64_t experts = 0) {
  save_layer(layer_of, folder, ranks, experts);
}

std::vector<std::string> names_of(const std::map<std::string, std::string>& files) {
  std::vector<std::string> out;
  for (const auto& [name, content] : files) out.push_back(name);
  return out;
}

TEST(Stacks, GoIntoFilesOfAtMostSixteenExpertsOfOneRank) {
  const TemporaryFolder folder;
  save(folder.path() / "1", 1);
  const auto of_one = files_of(folder.path() / "1");
  const std::vector<std::string> replicated = {
      "model.b.0000-0015.safetensors", "model.b.0016-0031.safetensors",
      "model.b.0032-0039.safetensors", "model.safetensors"};
  std::vector<std::string> names = {"model.a.0000-0015.safetensors",
                                    "model.a.0016-0031.safetensors",
                                    "model.a.0032-0039.safetensors"};
  names.insert(names.end(), replicated.begin(), replicated.end());
  EXPECT_EQ(names_of(of_one), names);
  // Copies of the experts write nothing.
  save(folder.path() / "1x3", 3, 1);
  EXPECT_EQ(files_of(folder.path() / "1x3"), of_one);

  save(folder.path() / "2", 2);
  names = {"model.a.0000-0015.safetensors", "model.a.0016-0019.safetensors",
           "model.a.0020-0031.safetensors", "model.a.0032-0039.safetensors"};
  names.insert(names.end(), replicated.begin(), replicated.end());
  EXPECT_EQ(names_of(files_of(folder.path() / "2")), names);
  save(folder.path() / "2x2", 4, 2);
  EXPECT_EQ(files_of(folder.path() / "2x2"), files_of(folder.path() / "2"));
  for (const auto& name : replicated)
    EXPECT_EQ(files_of(folder.path() / "2").at(name), of_one.at(name)) << name;
}

TEST(Stacks, AreReadBackInAnyLayout) {
  const TemporaryFolder folder;
  save(folder.path() / "2", 2);
  save(folder.path() / "3", 3);
  save(folder.path() / "64", 64);  // of which 24 have no expert
  save(folder.path() / "2x3", 6, 2);
  for (const char* saved : {"2", "3", "64", "2x3"})
    for (const auto& [ranks, experts] :
         {std::pair{1, 0}, {2, 0}, {7, 0}, {41, 0}, {6, 3}, {4, 1}}) {
      SCOPED_TRACE(concat(saved, " read by ", ranks, " ranks, groups of ", experts));
      parallel::run_ranks(ranks, [&, experts = experts](const Group& group) {
        const auto layout = parallel::Layout::of(group, experts);
        const Parameters expected = layer_of(layout);
        Parameters found = expected;
        for (auto& parameter : found) parameter.tensor = at::zeros_like(parameter.tensor);
        checkpoint::load_tensors(folder.path() / saved, "model", found, layout);
        for (size_t i = 0; i < expected.size(); ++i)
          EXPECT_TRUE(at::equal(found[i].tensor, expected[i].tensor)) << expected[i].name;
      });
    }
}

TEST(Stacks, WithoutMemoryAreGivenIt) {
  const TemporaryFolder folder;
  save(folder.path() / "saved", 1);
  parallel::run_ranks(2, [&](const Group& group) {
    const Parameters expected = layer_of(group);
    Parameters found = expected;
    for (auto& parameter : found)
      parameter.tensor =
          at::empty(parameter.tensor.sizes(), parameter.tensor.options().device(at::kMeta));
    const Tensor handle = found[0].tensor;
    checkpoint::load_tensors(folder.path() / "saved", "model", found, group);
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_TRUE(at::equal(found[i].tensor, expected[i].tensor)) << expected[i].name;
    EXPECT_TRUE(at::equal(handle, expected[0].tensor)) << "other handles must see the memory";
  });
}

TEST(State, WithoutRowsTakesAsManyAsTheCheckpointHasOrIsMadeAnew) {
  const TemporaryFolder folder;
  const ParameterInfo state{.role = Role::kState};
  const Tensor table = at::arange(6, at::kLong).view({3, 2});
  const auto save_with = [&](const std::string& name, const Parameters& tensors) {
    checkpoint::Publication publication(folder.path() / name);
    checkpoint::add_tensors(publication, "model", tensors);
    publication.finish({});
  };
  const Parameter other{"other", at::full({2}, 5, at::kDouble), {}};
  save_with("whole", {{"table", table, state}, other});
  save_with("flat", {{"table", table.flatten(), state}, other});
  save_with("none", {other});
  const auto load = [&](const std::string& name, const Parameter& into,
                        checkpoint::Missing missing = checkpoint::Missing::kRefuse) {
    const Parameters found = {into, {"other", at::zeros({2}, at::kDouble), {}}};
    checkpoint::load_tensors(folder.path() / name, "model", found, {}, missing);
    return found[0].tensor;
  };
  ParameterInfo made = state;
  made.start = [](const Tensor& values, const RandomStream&) { values.resize_({1, 2}).fill_(9); };
  for (const auto device : {at::kCPU, at::kMeta}) {
    const auto empty = [&] {
      return at::empty({0, 2}, at::TensorOptions(at::kLong).device(device));
    };
    EXPECT_TRUE(at::equal(load("whole", {"table", empty(), state}), table));
    EXPECT_ERROR(load("flat", {"table", empty(), state}), "expected 2 dimensions, found [6]");
    EXPECT_ERROR(load("none", {"table", empty(), state}), "--read-sources");
    EXPECT_ERROR(load("none", {"table", empty(), made}), "missing: table [0, 2]");
    EXPECT_TRUE(at::equal(load("none", {"table", empty(), made}, checkpoint::Missing::kMakeAnew),
                          at::full({1, 2}, 9, at::kLong)));
  }
  // What has rows has so many.
  EXPECT_ERROR(load("whole", {"table", at::zeros({4, 2}, at::kLong), state}), "expected 4");
  EXPECT_ERROR(load("none", {"table", at::zeros({4, 2}, at::kLong), state}),
               "Use the configuration the checkpoint was made with");
}

TEST(Stacks, OfAnotherNumberOfExpertsAreRefusedBeforeAnythingIsCopied) {
  const TemporaryFolder folder;
  save(folder.path() / "saved", 1);
  Parameters found = layer_of(parallel::local());
  for (auto& parameter : found) parameter.tensor = at::zeros_like(parameter.tensor);
  found[0].tensor = at::zeros({39, 3});
  found[0].info.whole = 39;
  EXPECT_ERROR(checkpoint::load_tensors(folder.path() / "saved", "model", found),
               "a: expected 39 on dimension 0, found 40");
  EXPECT_TRUE(found[1].tensor.eq(0).all().item<bool>());
}

}  // namespace
}  // namespace moe::test
