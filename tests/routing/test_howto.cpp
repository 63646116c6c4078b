// The router of docs/howto/add_a_router.md.
#include <tests/support/howto.h>
#include <tests/support/routers.h>

namespace moe::routing::routers_table {
RouterRegistry::Entry make_round_robin();
}  // namespace moe::routing::routers_table

namespace moe::routing::howto_test {

namespace {

using moe::test::experts_by_token;
using moe::test::make_router;
using moe::test::normal;

const bool kRegistered =
    moe::test::register_howto(routers(), "round_robin", routers_table::make_round_robin());

TEST(HowTo, TheRouterOfThePageDealsTokensInTurn) {
  ASSERT_TRUE(kRegistered);
  Table settings;
  settings.set("start", 1);
  const auto router =
      make_router("round_robin", {.d_model = 3, .num_experts = 4, .top_k = 2}, settings);
  const auto chosen = experts_by_token(router->forward(normal({3, 3}, 1), {}));
  EXPECT_EQ(chosen, (std::vector<std::vector<int64_t>>{{1, 2}, {3, 0}, {1, 2}}));
}

}  // namespace

}  // namespace moe::routing::howto_test
