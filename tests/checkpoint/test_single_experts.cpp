// Checkpoints of experts that are modules of their own, each on one rank.
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
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

/// What a rank holds of a layer of four experts of different widths.
Parameters single_experts_of(const parallel::Layout& layout) {
  Parameters out = {{"moe.router.weight", at::full({4, 2}, 9, at::kFloat), {}}};
  const auto mine = layout.experts_of(4);
  for (int64_t e = mine.first; e < mine.end(); ++e) {
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

void save_singles(const Path& folder, int64_t ranks, int64_t experts = 0) {
  save_layer(single_experts_of, folder, ranks, experts);
}

TEST(SingleExperts, GoIntoAFileOfEachRankThatIsTheFirstToHaveSome) {
  const TemporaryFolder folder;
  save_singles(folder.path() / "1", 1);
  const auto of_one = files_of(folder.path() / "1");
  EXPECT_EQ(of_one.size(), 2);
  EXPECT_TRUE(of_one.contains("model.experts.safetensors"));
  save_singles(folder.path() / "1x2", 2, 1);
  EXPECT_EQ(files_of(folder.path() / "1x2"), of_one);
  save_singles(folder.path() / "2x3", 6, 2);
  const auto of_six = files_of(folder.path() / "2x3");
  EXPECT_EQ(of_six.size(), 3);
  EXPECT_TRUE(of_six.contains("model.experts-0000.safetensors"));
  EXPECT_TRUE(of_six.contains("model.experts-0001.safetensors"));
}

TEST(SingleExperts, AreReadBackInAnyLayout) {
  const TemporaryFolder folder;
  save_singles(folder.path() / "1", 1);
  save_singles(folder.path() / "3", 3);
  for (const char* saved : {"1", "3"})
    for (const auto& [ranks, experts] : {std::pair{1, 0}, {2, 0}, {6, 0}, {6, 3}, {2, 1}})
      parallel::run_ranks(ranks, [&, experts = experts](const Group& group) {
        const auto layout = parallel::Layout::of(group, experts);
        const Parameters expected = single_experts_of(layout), found = zeros_like(expected);
        checkpoint::load_tensors(folder.path() / saved, "model", found, layout);
        for (size_t i = 0; i < expected.size(); ++i)
          EXPECT_TRUE(at::equal(found[i].tensor, expected[i].tensor)) << expected[i].name;
      });
}

TEST(SingleExperts, OfAnotherShapeOrMissingAreRefused) {
  const TemporaryFolder folder;
  save_singles(folder.path() / "saved", 1);
  const auto group = parallel::local();
  const auto load = [&](const Parameters& tensors) {
    return message_of(
        [&] { checkpoint::load_tensors(folder.path() / "saved", "model", tensors, group); });
  };
  Parameters wide = zeros_like(single_experts_of(group));
  wide[1].tensor = at::zeros({7, 2}, at::kFloat);
  EXPECT_PRED2(contains, load(wide), "moe.experts.0.0.weight: expected 7 on dimension 0, found 1");
  Parameters few = zeros_like(single_experts_of(group));
  few.pop_back();
  EXPECT_PRED2(contains, load(few), "unknown: moe.experts.3.0.weight");
}

}  // namespace
}  // namespace moe::test
