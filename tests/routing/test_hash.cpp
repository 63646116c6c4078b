// Hash routing against loops. T tokens, V vocabulary, E experts, K choices per token.
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <tests/models/tiny.h>
#include <tests/routing/naive.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/temporary_folder.h>
#include <tests/support/unfilled.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/formats/safetensors.h>
#include <moe/routing/kinds/hash.h>

namespace moe::routing::hash_test {

namespace {

using moe::test::experts_by_token;
using naive::Ids;
using naive::settings_of;
using naive::state_of;

constexpr int64_t kWidth = 5, kExperts = 6;

std::shared_ptr<Router> make(int64_t top_k, const Table& settings = {},
                             int64_t experts = kExperts) {
  return test::initialised(routers().at("hash").make(
      {.d_model = kWidth, .num_experts = experts, .top_k = top_k}, settings));
}

Table balanced(const Ids& counts) {
  Array list;
  for (const int64_t count : counts) list.emplace_back(count);
  return settings_of({{"table", "balanced"}, {"counts", list}});
}

Tensor ids_of(const Ids& ids) {
  return at::tensor(ids, at::kLong);
}

std::vector<Ids> choose(Router& router, const Tensor& ids_T, LayerContext context = {}) {
  context.tokens.ids_T = ids_T;
  return experts_by_token(router.forward(at::zeros({ids_T.size(0), kWidth}), context));
}

/// K draws without replacement from a list of the experts that are free.
Ids drawn(int64_t id, uint64_t seed, uint32_t layer, int64_t experts, int64_t k) {
  Ids open(static_cast<size_t>(experts)), out;
  std::iota(open.begin(), open.end(), 0);
  for (int64_t j = 0; j < k; ++j) {
    const RandomStream table({.seed = seed, .layer = layer}, Purpose::kRouting,
                             static_cast<uint32_t>(j));
    const auto place = static_cast<std::ptrdiff_t>(
        table.below(static_cast<uint64_t>(id), static_cast<uint64_t>(open.size())));
    out.push_back(open[static_cast<size_t>(place)]);
    open.erase(open.begin() + place);
  }
  return out;
}

TEST(HashRouter, LooksTheExpertsUpByTokenIdAndSharesTheWeight) {
  const Ids ids = {3, 0, 7, 3, 100000, -1, std::numeric_limits<int64_t>::max(), 0};
  for (const int64_t K : {1, 2, 3, 6}) {
    const auto router = make(K, settings_of({{"seed", 4}}));
    LayerContext context{{.training = true, .random = {.seed = 1, .step = 2, .layer = 3}}};
    context.tokens.ids_T = ids_of(ids);
    const Tensor x_TD = test::normal({8, kWidth}, 1);
    const Routing routing = router->forward(x_TD, context);
    test::expect_valid(routing, 8, kExperts);
    EXPECT_TRUE(router->parameters().empty());
    EXPECT_FALSE(routing.logits_TE.defined());
    EXPECT_EQ(routing.choices, K);
    EXPECT_EQ(routing.weights_N.scalar_type(), at::kDouble);
    EXPECT_TRUE(routing.weights_N.eq(1.0 / static_cast<double>(K)).all().item<bool>());
    const auto found = experts_by_token(routing);
    for (size_t t = 0; t < ids.size(); ++t)
      EXPECT_EQ(found[t], drawn(ids[t], 4, 3, kExperts, K)) << "id " << ids[t];
  }
}

TEST(HashRouter, TheTableDependsOnItsSeedAndTheLayerAndOnNothingElse) {
  const Tensor ids_T = at::arange(50, at::kLong);
  const auto router = make(2);
  const auto table = choose(*router, ids_T, {{.random = {.layer = 1}}});
  EXPECT_EQ(choose(*router, ids_T,
                   {{.training = true, .random = {.seed = 9, .step = 8, .layer = 1}},
                    {.first_token = 77}}),
            table);
  EXPECT_NE(choose(*router, ids_T, {{.random = {.layer = 2}}}), table);
  EXPECT_NE(choose(*make(2, settings_of({{"seed", 1}})), ids_T, {{.random = {.layer = 1}}}), table);

  const auto shared = make(2, settings_of({{"per_layer", false}}));
  EXPECT_EQ(choose(*shared, ids_T, {{.random = {.layer = 1}}}),
            choose(*shared, ids_T, {{.random = {.layer = 2}}}));
}

TEST(HashRouter, EveryRandomTableIsUniformAndAnyTwoChoicesAreEquallyLikely) {
  constexpr int64_t T = 30000;
  const auto found = choose(*make(2), at::arange(T, at::kLong));
  std::map<std::pair<int64_t, int64_t>, int64_t> pairs;
  for (const Ids& chosen : found) ++pairs[{chosen[0], chosen[1]}];
  constexpr int64_t kPairs = kExperts * (kExperts - 1);
  ASSERT_EQ(pairs.size(), static_cast<size_t>(kPairs));
  const double p = 1.0 / kPairs;
  for (const auto& [pair, count] : pairs)
    EXPECT_NEAR(static_cast<double>(count) / T, p, 5 * std::sqrt(p * (1 - p) / T))
        << pair.first << ' ' << pair.second;
}

TEST(HashRouter, ModuloTakesNeighboursInTurn) {
  const auto router = make(3, settings_of({{"table", "modulo"}}));
  EXPECT_EQ(choose(*router, ids_of({0, 4, 5, 13, -1})),
            (std::vector<Ids>{{0, 1, 2}, {4, 5, 0}, {5, 0, 1}, {1, 2, 3}, {5, 0, 1}}));
}

/// Greedy: frequent ids first, each to the experts with the least load, by searching for them.
std::vector<Ids> greedy(const Ids& counts, int64_t experts, int64_t k) {
  std::vector<int64_t> load(static_cast<size_t>(experts));
  std::vector<Ids> table(counts.size());
  for (size_t round = 0; round < counts.size(); ++round) {
    size_t next = counts.size();
    for (size_t id = 0; id < counts.size(); ++id)
      if (table[id].empty() && (next == counts.size() || counts[id] > counts[next])) next = id;
    std::set<size_t> taken;
    for (int64_t j = 0; j < k; ++j) {
      size_t least = load.size();
      for (size_t e = 0; e < load.size(); ++e)
        if (!taken.count(e) && (least == load.size() || load[e] < load[least])) least = e;
      taken.insert(least);
      table[next].push_back(static_cast<int64_t>(least));
    }
    for (const size_t e : taken) load[e] += counts[next] + 1;
  }
  return table;
}

/// Counts that fall as in language, in no order of ids.
Ids zipf_counts(int64_t vocabulary) {
  Ids counts;
  for (int64_t id = 0; id < vocabulary; ++id)
    counts.push_back(100000 / (1 + (id * 7919) % vocabulary) - 100000 / vocabulary);
  return counts;
}

TEST(HashRouter, TheBalancedTableIsGreedyByFrequency) {
  const Ids counts = zipf_counts(97);
  for (const int64_t K : {1, 2, 6}) {
    const auto router = make(K, balanced(counts));
    EXPECT_EQ(choose(*router, at::arange(97, at::kLong)), greedy(counts, kExperts, K));
  }
}

TEST(HashRouter, TheBalancedTableEvensTheLoadOutWhereARandomOneDoesNot) {
  const Ids counts = zipf_counts(997);
  const auto spread = [&](Router& router) {
    const auto table = choose(router, at::arange(997, at::kLong));
    Ids load(kExperts), ids(kExperts);
    for (size_t id = 0; id < counts.size(); ++id) {
      load[static_cast<size_t>(table[id][0])] += counts[id];
      ++ids[static_cast<size_t>(table[id][0])];
    }
    EXPECT_GT(*std::min_element(ids.begin(), ids.end()), 0);
    const auto [least, most] = std::minmax_element(load.begin(), load.end());
    return static_cast<double>(*most - *least) /
           static_cast<double>(std::accumulate(load.begin(), load.end(), int64_t{0}));
  };
  // The most frequent id alone is 15 % of all tokens, which fits into one of six experts.
  EXPECT_LT(spread(*make(1, balanced(counts))), 0.01);
  EXPECT_GT(spread(*make(1)), 0.02);
}

TEST(HashRouter, IdsThatNeverOccurredAreSpreadToo) {
  const auto router = make(1, balanced(Ids(60, 0)));
  Ids ids_per_expert(kExperts);
  for (const Ids& chosen : choose(*router, at::arange(60, at::kLong)))
    ++ids_per_expert[static_cast<size_t>(chosen[0])];
  EXPECT_EQ(ids_per_expert, Ids(kExperts, 10));
}

TEST(HashRouter, ReadsCountsFromAFile) {
  const test::TemporaryFolder folder;
  const Path path = folder / "counts.safetensors";
  const Ids counts = zipf_counts(40);
  formats::write_safetensors(real_files(), path, {{"counts", ids_of(counts)}});
  const auto from_file = settings_of({{"table", "balanced"}, {"counts_file", path.string()}});
  const Tensor ids_T = at::arange(40, at::kLong);
  EXPECT_EQ(choose(*make(2, from_file), ids_T), choose(*make(2, balanced(counts)), ids_T));

  formats::write_safetensors(real_files(), path, {{"counts", at::ones({40})}});
  EXPECT_ERROR(make(2, from_file), "expected an int64 tensor 'counts'");
  formats::write_safetensors(real_files(), path, {{"count", ids_of(counts)}});
  EXPECT_ERROR(make(2, from_file), "counts");
}

TEST(HashRouter, NeedsItsFileWhenAModelStartsAndNotAgain) {
  const test::TemporaryFolder folder;
  const Path path = folder / "counts.safetensors";
  const auto settings = settings_of({{"table", "balanced"}, {"counts_file", path.string()}});
  const RouterShape shape{
      .d_model = kWidth, .num_experts = kExperts, .top_k = 2, .tensors = at::kMeta};
  EXPECT_EQ(state_of(*routers().at("hash").make(shape, settings), "table").size(0), 0);
  EXPECT_ERROR(make(2, settings), path.string());

  const Ids counts = zipf_counts(40);
  formats::write_safetensors(real_files(), path, {{"counts", ids_of(counts)}});
  const auto router = make(2, settings);
  const Tensor ids_T = at::arange(40, at::kLong);
  const auto before = choose(*router, ids_T);
  std::filesystem::remove(path);
  EXPECT_EQ(choose(*router, ids_T), before);
  EXPECT_EQ(state_of(*router, "table").sizes(), (std::vector<int64_t>{40, 2}));
}

TEST(HashRouter, RefusesTablesThatAreNone) {
  const auto router = make(2, balanced({5, 4, 3}));
  const Tensor table_VK = state_of(*router, "table");
  for (const int64_t wrong : {int64_t{-1}, kExperts}) {
    table_VK[1][1] = wrong;
    EXPECT_ERROR(choose(*router, ids_of({0, 1})), "expected a table of experts in [0, 6)");
  }
  table_VK.resize_({3, 1});
  EXPECT_ERROR(choose(*router, ids_of({0})), "expected at most the 1 experts an id");
  table_VK.resize_({0, 2});
  EXPECT_ERROR(choose(*router, ids_of({0})), "got an empty one");
}

TEST(HashRouter, TheBalancedTableIsABufferThatMayBecomeWideButNotNarrow) {
  const auto router = make(2, balanced({5, 4, 3}));
  EXPECT_EQ(state_of(*router, "table").scalar_type(), at::kLong);
  const auto before = choose(*router, ids_of({2, 0, 1}));
  router->to(at::kDouble);
  EXPECT_EQ(choose(*router, ids_of({2, 0, 1})), before);
  router->to(at::kBFloat16);
  EXPECT_ERROR(choose(*router, ids_of({0})), "expected a table that holds every expert's number");
}

TEST(HashRouter, WithABalancedTableLivesWithoutMemory) {
  test::expect_lives_without_memory([](const at::TensorOptions& tensors) {
    return routers().at("hash").make(
        {.d_model = kWidth, .num_experts = kExperts, .top_k = 2, .tensors = tensors},
        balanced({5, 4, 3}));
  });
}

TEST(HashRouter, HashesTheGlobalTokenNumberWhereThereAreNoIdsUnlessToldToRefuse) {
  const Tensor x_TD = at::zeros({3, kWidth});
  const auto router = make(2);
  EXPECT_EQ(experts_by_token(router->forward(x_TD, {{}, {.first_token = 20}})),
            choose(*router, ids_of({20, 21, 22})));
  const auto strict = make(2, settings_of({{"without_ids", "refuse"}}));
  EXPECT_ERROR(strict->forward(x_TD, {}),
               "expected the ids of the tokens in the context, got none");
  EXPECT_ERROR(make(2, balanced({1, 1, 1}))->forward(x_TD, {}),
               "expected the ids of the tokens in the context, got none");
}

TEST(HashRouter, RefusesIdsAndSettingsThatMeanNothing) {
  const auto router = make(2, balanced({5, 4, 3}));
  EXPECT_ERROR(choose(*router, ids_of({0, 3})), "expected token ids in [0, 3)");
  EXPECT_ERROR(choose(*router, ids_of({0, -1})), "got -1");
  const Tensor x_TD = at::zeros({3, kWidth});
  EXPECT_ERROR(router->forward(x_TD, {{}, {.ids_T = ids_of({0, 1})}}), "int64 and shape [3]");
  EXPECT_ERROR(router->forward(x_TD, {{}, {.ids_T = at::zeros({3})}}), "int64 and shape [3]");
  EXPECT_ERROR(router->forward(at::zeros({3, kWidth + 1}), {}), "d_model=5");

  EXPECT_ERROR(make(2, settings_of({{"table", "module"}})), "Did you mean 'modulo'?");
  EXPECT_ERROR(make(2, settings_of({{"without_ids", "refus"}})), "Did you mean 'refuse'?");
  EXPECT_ERROR(make(2, settings_of({{"table", "balanced"}})), "either counts or counts_file");
  Table both = balanced({1, 2});
  both.set("counts_file", "counts.safetensors");
  EXPECT_ERROR(make(2, both), "got both");
  EXPECT_ERROR(make(2, settings_of({{"counts_file", "counts.safetensors"}})),
               "Only the balanced table");
  EXPECT_ERROR(make(2, balanced({1, -2})), "expected counts >= 0, got -2 for token id 1");
}

TEST(HashRouter, AModelSendsATokenToTheSameExpertsWhereverItStands) {
  auto options = test::tiny::options();
  options.uniform.moe.router = HashRouter{.without_ids = "refuse"};
  const auto model = test::tiny::make(options);
  const Tensor ids_BS = test::tiny::ids(3, 8);
  const Tensor ids_T = ids_BS.flatten();
  for (const bool training : {true, false}) {
    test::RowsContext context;
    context.training = training;
    context.random = {.seed = 5};
    const auto output = test::run_rows(*model, ids_BS, context);
    ASSERT_EQ(output.layers.size(), 2u);
    for (const auto& layer : output.layers) {
      const auto found = experts_by_token(layer.routing);
      for (int64_t t = 0; t < ids_T.size(0); ++t)
        EXPECT_EQ(found[static_cast<size_t>(t)],
                  drawn(ids_T[t].item<int64_t>(), 0, static_cast<uint32_t>(layer.layer), 4, 2));
    }
  }
}

}  // namespace

}  // namespace moe::routing::hash_test
