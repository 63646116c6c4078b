// Checkpoints of experts that are modules of their own, each on one rank.
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
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

/// What a rank of `group` holds of a layer of four experts of different widths.
Parameters layer_of(parallel::Communicator& group) {
  Parameters out = {{"moe.router.weight", at::full({4, 2}, 9, at::kFloat), {}}};
  const int64_t L = 4 / group.size();
  for (int64_t e = group.rank() * L; e < (group.rank() + 1) * L; ++e) {
    const ParameterInfo info{.part = Part::kExperts, .expert = e};
    out.push_back(
        {concat("moe.experts.", e, ".0.weight"), at::full({e + 1, 2}, e, at::kFloat), info});
    if (e == 2) out.push_back({"moe.experts.2.0.bias", at::full({}, 5, at::kDouble), info});
  }
  return out;
}

Parameters zeros_like(Parameters tensors) {
  for (auto& parameter : tensors) parameter.tensor = at::zeros_like(parameter.tensor);
  return tensors;
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

TEST(SingleExperts, GiveTheSameFilesOnAnyNumberOfRanks) {
  const TemporaryFolder folder;
  for (const int64_t ranks : {1, 2, 4}) save(folder.path() / std::to_string(ranks), ranks);
  const auto expected = files_of(folder.path() / "1");
  EXPECT_TRUE(expected.contains("model.experts.safetensors"));
  EXPECT_EQ(files_of(folder.path() / "2"), expected);
  EXPECT_EQ(files_of(folder.path() / "4"), expected);
}

TEST(SingleExperts, AreReadBackOnAnyNumberOfRanks) {
  const TemporaryFolder folder;
  save(folder.path() / "saved", 2);
  for (const int64_t ranks : {1, 2, 4})
    parallel::run_ranks(ranks, [&](const Group& group) {
      const Parameters expected = layer_of(*group), found = zeros_like(expected);
      checkpoint::load_tensors(folder.path() / "saved", "model", found, *group);
      for (size_t i = 0; i < expected.size(); ++i)
        EXPECT_TRUE(at::equal(found[i].tensor, expected[i].tensor)) << expected[i].name;
    });
}

TEST(SingleExperts, OfAnotherShapeOrMissingAreRefused) {
  const TemporaryFolder folder;
  save(folder.path() / "saved", 1);
  const auto group = parallel::local();
  const auto load = [&](const Parameters& tensors) {
    return message_of(
        [&] { checkpoint::load_tensors(folder.path() / "saved", "model", tensors, *group); });
  };
  Parameters wide = zeros_like(layer_of(*group));
  wide[1].tensor = at::zeros({7, 2}, at::kFloat);
  EXPECT_PRED2(contains, load(wide), "moe.experts.0.0.weight: expected 7 on dimension 0, found 1");
  Parameters few = zeros_like(layer_of(*group));
  few.pop_back();
  EXPECT_PRED2(contains, load(few), "unknown: moe.experts.3.0.weight");
}

}  // namespace
}  // namespace moe::test
