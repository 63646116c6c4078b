// Who is dropped in a Switch model of another library. T tokens, E experts.
#include <tests/support/compare.h>

#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include <moe/capacity/capacity.h>
#include <moe/formats/safetensors.h>
#include <moe/ops/order.h>

namespace moe::capacity::fixtures_test {

namespace {

TEST(CapacityFixtures, ASwitchModelDropsTheSameTokens) {
  const Path file = Path(MOE_SHARED_DIR) / "parity/switch_capacity/expected.safetensors";
  if (!real_files().exists(file)) GTEST_SKIP() << "1 fixture missing: switch_capacity";
  const auto expected = formats::SafetensorsFile::open(file);
  for (const auto& [layer, row] : {std::pair{"layers.1.", 10}, std::pair{"layers.3.", 8}}) {
    SCOPED_TRACE(layer);
    const Tensor logits_TE = expected.tensor(concat(layer, "router_logits")),
                 weights_N = expected.tensor(concat(layer, "weights")).flatten(),
                 experts_N = expected.tensor(concat(layer, "experts")).flatten();
    const Tensor scores_TE = at::softmax(logits_TE, 1);
    const auto [chosen_T1, experts_T1] = ops::topk(scores_TE, 1);
    Routing routing = fixed_choices(experts_T1, chosen_T1, logits_TE.size(1));
    const Routing limited =
        Capacity({.num_experts = logits_TE.size(1)}, {.limit = 2})
            .apply(routing, {{}, {.sequences = Sequences::equal(routing.tokens() / row, row)}});
    test::expect_close(limited.weights_N, weights_N, 5e-5);
    test::expect_identical(limited.experts_N.lt(4), weights_N.gt(0));
    test::expect_identical(limited.experts_N.masked_select(weights_N.gt(0)),
                           experts_N.masked_select(weights_N.gt(0)));
    EXPECT_GT(limited.dropped().item<int64_t>(), 0);
  }
}

}  // namespace

}  // namespace moe::capacity::fixtures_test
