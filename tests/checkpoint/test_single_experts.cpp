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
using checkpoint::NamedTensors;
using Group = std::shared_ptr<parallel::Communicator>;

/// What a rank of `group` holds of a layer of four experts of different widths.
NamedTensors tensors_of(parallel::Communicator& group) {
  NamedTensors out = {{"moe.router.weight", at::full({4, 2}, 9, at::kFloat)}};
  const int64_t L = 4 / group.size();
  for (int64_t e = group.rank() * L; e < (group.rank() + 1) * L; ++e) {
    out.emplace_back(concat("moe.experts.", e, ".0.weight"), at::full({e + 1, 2}, e, at::kFloat));
    if (e == 2) out.emplace_back("moe.experts.2.0.bias", at::full({}, 5, at::kDouble));
  }
  return out;
}

NamedTensors zeros_like(NamedTensors tensors) {
  for (auto& [name, tensor] : tensors) tensor = at::zeros_like(tensor);
  return tensors;
}

void save(const Path& folder, int64_t ranks) {
  parallel::run_ranks(ranks, [&](const Group& group) {
    std::optional<checkpoint::Publication> publication;
    if (group->rank() == 0) publication.emplace(folder, real_files());
    checkpoint::add_tensors(publication ? &*publication : nullptr, "model", tensors_of(*group),
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
      const NamedTensors expected = tensors_of(*group), found = zeros_like(expected);
      checkpoint::load_tensors(folder.path() / "saved", "model", found, *group);
      for (size_t i = 0; i < expected.size(); ++i)
        EXPECT_TRUE(at::equal(found[i].second, expected[i].second)) << expected[i].first;
    });
}

TEST(SingleExperts, OfAnotherShapeOrMissingAreRefused) {
  const TemporaryFolder folder;
  save(folder.path() / "saved", 1);
  const auto group = parallel::local();
  const auto load = [&](const NamedTensors& tensors) {
    return message_of(
        [&] { checkpoint::load_tensors(folder.path() / "saved", "model", tensors, *group); });
  };
  NamedTensors wide = zeros_like(tensors_of(*group));
  wide[1].second = at::zeros({7, 2}, at::kFloat);
  EXPECT_PRED2(contains, load(wide), "moe.experts.0.0.weight: expected 7 on dimension 0, found 1");
  NamedTensors few = zeros_like(tensors_of(*group));
  few.pop_back();
  EXPECT_PRED2(contains, load(few), "unknown: moe.experts.3.0.weight");
}

}  // namespace
}  // namespace moe::test
