#pragma once
// What tests of routers share. T tokens, D width, E experts, N pairs.

#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <tests/support/modules.h>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/all.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <moe/routing/replay.h>
#include <moe/routing/router.h>

namespace moe::test {

using at::Tensor;

/// `router` with numbers of deviation 1/sqrt(D), so that logits differ clearly.
inline std::shared_ptr<routing::Router> initialised_router(
    std::shared_ptr<routing::Router> router) {
  const InitOptions wide{.router_std = 1 / std::sqrt(static_cast<double>(router->shape().d_model))};
  return initialised(std::move(router), wide, 0, "router.");
}

/// A router of `kind` with numbers. A kind may refuse a top_k: then it is made for one choice. The
/// replay router gets a recording of 64 tokens dealt round robin.
inline std::shared_ptr<routing::Router> make_router(const std::string& kind,
                                                    routing::RouterShape shape,
                                                    const Table& settings = {}) {
  const auto entry = routing::routers().at(kind);
  std::shared_ptr<routing::Router> router;
  try {
    router = entry.make(shape, settings);
  } catch (const ConfigError&) {
    shape.top_k = 1;
    router = entry.make(shape, settings);
  }
  initialised_router(router);
  if (auto* replay = dynamic_cast<routing::Replay*>(router.get())) {
    const int64_t K = shape.top_k;
    const Tensor experts_TK =
        at::arange(64 * K, at::kLong).reshape({64, K}).remainder(shape.num_experts);
    replay->set_assignment(experts_TK,
                           at::full({64, K}, 1.0 / static_cast<double>(K), at::kDouble));
  }
  return router;
}

/// The experts of each token, dropped pairs left out.
inline std::vector<std::vector<int64_t>> experts_by_token(const Routing& routing) {
  std::vector<std::vector<int64_t>> out(static_cast<size_t>(routing.tokens()));
  const Tensor offsets = routing.offsets.contiguous(), experts_N = routing.experts_N.contiguous();
  for (int64_t t = 0; t < routing.tokens(); ++t)
    for (int64_t n = offsets.const_data_ptr<int64_t>()[t];
         n < offsets.const_data_ptr<int64_t>()[t + 1]; ++n)
      if (const int64_t e = experts_N.const_data_ptr<int64_t>()[n]; e != routing.num_experts)
        out[static_cast<size_t>(t)].push_back(e);
  return out;
}

/// The weights of one token's pairs, dropped ones too.
inline Tensor weights_of(const Routing& routing, int64_t token) {
  return routing.weights_N.slice(0, routing.offsets[token].item<int64_t>(),
                                 routing.offsets[token + 1].item<int64_t>());
}

/// Everything that must hold for any routing of `tokens` tokens.
inline void expect_valid(const Routing& routing, int64_t tokens, int64_t experts) {
  ASSERT_EQ(routing.num_experts, experts);
  ASSERT_EQ(routing.tokens(), tokens);
  ASSERT_EQ(routing.offsets.scalar_type(), at::kLong);
  ASSERT_EQ(routing.experts_N.scalar_type(), at::kLong);
  ASSERT_EQ(routing.offsets[0].item<int64_t>(), 0);
  ASSERT_EQ(routing.offsets[-1].item<int64_t>(), routing.pairs());
  const Tensor per_T = routing.offsets.diff();
  ASSERT_TRUE(per_T.ge(0).all().item<bool>());
  if (routing.choices > 0) {
    EXPECT_TRUE(per_T.eq(routing.choices).all().item<bool>());
  }
  ASSERT_TRUE(
      routing.experts_N.ge(0).logical_and(routing.experts_N.le(experts)).all().item<bool>());
  ASSERT_EQ(routing.weights_N.sizes(), routing.experts_N.sizes());
  EXPECT_TRUE(routing.weights_N.scalar_type() == at::kFloat ||
              routing.weights_N.scalar_type() == at::kDouble);
  EXPECT_EQ(routing.logits_TE.defined(), routing.scores_TE.defined());
  for (const Tensor& table_TE : {routing.logits_TE, routing.scores_TE})
    if (table_TE.defined()) {
      EXPECT_EQ(table_TE.sizes(), (std::vector<int64_t>{tokens, experts}));
    }
  EXPECT_TRUE(
      routing.weights_N.masked_select(routing.experts_N.eq(experts)).eq(0).all().item<bool>());
  int64_t kept = 0;
  for (const auto& chosen : experts_by_token(routing)) {
    EXPECT_EQ(std::set<int64_t>(chosen.begin(), chosen.end()).size(), chosen.size())
        << "an expert twice";
    kept += static_cast<int64_t>(chosen.size());
  }
  EXPECT_EQ(routing.counts_E().sum().item<int64_t>(), kept);
}

}  // namespace moe::test
