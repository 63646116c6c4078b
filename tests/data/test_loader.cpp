// T tokens, B rows, S sequence.

#include <filesystem>
#include <fstream>
#include <map>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/data/loader.h>

#include "tests/data/numbers.h"
#include "tests/support/message_of.h"

namespace moe::data {
namespace {

class LoaderFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir_);
    // Byte i of a domain tells where it stands, so that windows can be checked against the file.
    for (const auto& [name, size, base] : {std::tuple{"a", 100, 0}, {"b", 50, 150}}) {
      std::ofstream out(dir_ / name, std::ios::binary);
      for (int i = 0; i < size; ++i) out.put(static_cast<char>(base + i));
    }
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::shared_ptr<const Corpus> corpus(const std::string& weights = "size", int64_t sequence = 8) {
    return std::make_shared<Corpus>(
        DataOptions{.sequence = sequence,
                    .domains = {{.name = "a",
                                 .train = (dir_ / "a").string(),
                                 .weight = weights == "given" ? 1.0 : 0.0},
                                {.name = "b", .train = (dir_ / "b").string(), .weight = 0}},
                    .weights = weights});
  }
  std::filesystem::path dir_ = std::filesystem::path(testing::TempDir()) / "moe_loader";
};

at::Tensor ids_BS(const Batch& batch, int64_t sequence = 8) {
  return batch.inputs.tokens.ids_T.view({-1, sequence});
}

at::Tensor domain_B(const Batch& batch, int64_t sequence = 8) {
  return batch.inputs.tokens.domains_T.view({-1, sequence}).select(1, 0);
}

bool same(const Batch& a, const Batch& b) {
  const TokenList &x = a.inputs.tokens, &y = b.inputs.tokens;
  return at::equal(x.ids_T, y.ids_T) && at::equal(a.targets, b.targets) &&
         at::equal(x.domains_T, y.domains_T) && x.first_token == y.first_token;
}

TEST_F(LoaderFiles, TargetsAreTheNextTokensOfTheRowsDomain) {
  const Loader loader(corpus(), {.batch = 16, .seed = 3});
  for (int64_t step = 0; step < 20; ++step) {
    const Batch batch = loader.batch(step);
    const TokenList& tokens = batch.inputs.tokens;
    ASSERT_EQ(tokens.ids_T.sizes(), (at::IntArrayRef{16 * 8}));
    ASSERT_EQ(tokens.ids_T.scalar_type(), at::kLong);
    EXPECT_FALSE(batch.inputs.pixels_NCHW.defined());
    EXPECT_EQ(tokens.sequences.count(), 16);
    EXPECT_EQ(tokens.sequences.runs.equal_length(), 8);
    EXPECT_EQ(tokens.sequences.packed_rows.count(), 0);
    EXPECT_EQ(tokens.first_token, step * 16 * 8);
    EXPECT_EQ(tokens.num_domains, 2);
    EXPECT_TRUE(at::equal(batch.targets, tokens.ids_T.add(1)));
    EXPECT_TRUE(at::equal(tokens.domains_T, tokens.ids_T.ge(150).to(at::kLong)));
  }
}

TEST_F(LoaderFiles, ReachesEveryWindowAndNoOther) {
  const Loader loader(corpus(), {.batch = 64, .seed = 1});
  std::map<int64_t, int> starts;
  for (int64_t step = 0; step < 100; ++step) {
    const at::Tensor ids = ids_BS(loader.batch(step));
    for (int64_t row = 0; row < 64; ++row) ++starts[ids[row][0].item<int64_t>()];
  }
  // Windows of 9 tokens begin at 0..91 of a and at 150..191 of b.
  EXPECT_EQ(starts.size(), 92u + 42u);
  EXPECT_EQ(starts.begin()->first, 0);
  EXPECT_EQ(starts.rbegin()->first, 191);
}

TEST_F(LoaderFiles, DrawsDomainsByWeight) {
  const auto share_of_b = [&](const std::string& weights) {
    const Loader loader(corpus(weights), {.batch = 4000, .seed = 5});
    return static_cast<double>(domain_B(loader.batch(0)).sum().item<int64_t>()) / 4000;
  };
  EXPECT_NEAR(share_of_b("size"), 1.0 / 3, 0.03);
  EXPECT_NEAR(share_of_b("equal"), 0.5, 0.03);
  EXPECT_EQ(share_of_b("given"), 0);
}

TEST_F(LoaderFiles, ABatchDependsOnSeedAndStepAlone) {
  const Loader loader(corpus(), {.batch = 4, .seed = 7});
  const Batch later = loader.batch(9);
  loader.batch(3);
  EXPECT_TRUE(same(loader.batch(9), later));
  EXPECT_TRUE(same(Loader(corpus(), {.batch = 4, .seed = 7}).batch(9), later));
  EXPECT_FALSE(at::equal(ids_BS(loader.batch(10)), ids_BS(later)));
  EXPECT_FALSE(
      at::equal(ids_BS(Loader(corpus(), {.batch = 4, .seed = 8}).batch(9)), ids_BS(later)));
}

TEST_F(LoaderFiles, AccumulationDoesNotChangeTheData) {
  const Batch whole = Loader(corpus(), {.batch = 8, .seed = 7}).batch(5);
  const Loader parts(corpus(), {.batch = 4, .seed = 7});
  const Batch first = parts.batch(5, 0, 2), second = parts.batch(5, 1, 2);
  EXPECT_TRUE(at::equal(at::cat({ids_BS(first), ids_BS(second)}), ids_BS(whole)));
  EXPECT_EQ(first.inputs.tokens.first_token, whole.inputs.tokens.first_token);
  EXPECT_EQ(second.inputs.tokens.first_token, whole.inputs.tokens.first_token + 4 * 8);
}

TEST_F(LoaderFiles, RanksTogetherSeeTheGlobalBatch) {
  const Loader loader(corpus(), {.batch = 7, .seed = 2});
  const Batch whole = loader.batch(4, 1, 2);
  std::vector<at::Tensor> inputs, domains;
  for (int64_t rank = 0; rank < 3; ++rank) {
    const auto rows = rank_rows(7, rank, 3);
    const Batch part = loader.batch(4, 1, 2, rows);
    EXPECT_EQ(part.inputs.tokens.first_token, whole.inputs.tokens.first_token + rows.begin * 8);
    inputs.push_back(ids_BS(part));
    domains.push_back(domain_B(part));
  }
  EXPECT_TRUE(at::equal(at::cat(inputs), ids_BS(whole)));
  EXPECT_TRUE(at::equal(at::cat(domains), domain_B(whole)));
  EXPECT_EQ(loader.batch(0, 0, 1, {3, 3}).inputs.tokens.ids_T.size(0), 0);
  EXPECT_THROW(loader.batch(0, 0, 1, {0, 8}), Error);
  EXPECT_THROW(loader.batch(0, 1, 1), Error);
  EXPECT_THROW(rank_rows(7, 3, 3), Error);
  EXPECT_THROW(Loader(corpus(), {.batch = 0}), ConfigError);
}

TEST_F(LoaderFiles, NumbersOfTokensStayBelow2To63OrAreRefused) {
  const Loader loader(corpus(), {.batch = int64_t{1} << 24});
  const int64_t steps = int64_t{1} << 40, accumulation = int64_t{1} << 18;
  EXPECT_ERROR(loader.batch(steps, accumulation - 1, accumulation, {0, 1}),
               "expected fewer than 2^63 tokens up to step 1099511627776");
  EXPECT_ERROR(loader.batch(INT64_MAX, 0, 1, {0, 0}), "expected fewer than 2^63 tokens");
  // 2^35 steps of 2^24 rows of 8 tokens are 2^62.
  const Batch last = loader.batch((int64_t{1} << 35) - 1, 0, 1, {2, 3});
  EXPECT_EQ(last.inputs.tokens.first_token, (int64_t{1} << 62) - (int64_t{1} << 27) + 2 * 8);
  // The last number of all is 2^63 - 9: one row more would not fit.
  const MicroBatch full{
      .step = (int64_t{1} << 60) - 2, .micro = 0, .accumulation = 1, .rows = 1, .row_tokens = 8};
  EXPECT_EQ(first_token_of_row(full, 0), INT64_MAX - 15);
  EXPECT_EQ(first_token_of_row(full, 1), INT64_MAX - 7);
  EXPECT_ERROR(first_token_of_row({full.step + 1, 0, 1, 1, 8}, 0), "fewer than 2^63 tokens");
}

TEST(RankRows, AreThoseOfTheFormulaForAnyBatch) {
  for (const int64_t batch : {int64_t{0}, int64_t{7}, int64_t{1} << 24, INT64_MAX - 1, INT64_MAX})
    for (const int64_t world : {1, 3, 64})
      for (int64_t rank = 0; rank < world; ++rank) {
        const auto begin = [&](int64_t r) {
          return static_cast<int64_t>(static_cast<__int128>(batch) * r / world);
        };
        const RowRange rows = rank_rows(batch, rank, world);
        EXPECT_EQ(rows.begin, begin(rank));
        EXPECT_EQ(rows.end, begin(rank + 1));
      }
}

TEST_F(LoaderFiles, ADomainOfOneRowHasOneWindow) {
  const Loader loader(corpus("equal", 49), {.batch = 32, .seed = 1});
  const Batch batch = loader.batch(0);
  const at::Tensor ids = ids_BS(batch, 49), domains = domain_B(batch, 49);
  for (int64_t row = 0; row < 32; ++row)
    if (domains[row].item<int64_t>() == 1) {
      EXPECT_EQ(ids[row][0].item<int64_t>(), 150);
    }
  EXPECT_GT(domains.sum().item<int64_t>(), 0);
  EXPECT_THROW(corpus("equal", 50), ConfigError);
}

/// Tokens 1, 2, …, count.
Tokens counted(int64_t count) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i + 1);
  return Tokens(ids);
}

TEST(EvalPass, CoversEveryTargetOnceAndHasNoPadding) {
  const EvalPass pass(counted(23), 5, 2, -1, 3, 4);
  ASSERT_EQ(pass.batches(), 3);  // 22 targets, 5 windows, 3 batches
  EXPECT_EQ(pass.rows_in_all(), 5);
  std::vector<int64_t> targets;
  for (int64_t i = 0; i < pass.batches(); ++i) {
    const Batch batch = pass.batch(i);
    const TokenList& tokens = batch.inputs.tokens;
    const int64_t T = i < 2 ? 10 : 2;  // the last window holds inputs 20 and 21
    ASSERT_EQ(tokens.ids_T.sizes(), (at::IntArrayRef{T}));
    EXPECT_EQ(tokens.sequences.tokens(), T);
    EXPECT_EQ(tokens.sequences.count(), i < 2 ? 2 : 1);
    EXPECT_EQ(tokens.sequences.runs.equal_length(), i < 2 ? 5 : 2);
    EXPECT_EQ(tokens.first_token, i * 10);
    EXPECT_EQ(tokens.num_domains, 4);
    EXPECT_TRUE(tokens.domains_T.eq(3).all().item<bool>());
    EXPECT_TRUE(at::equal(batch.targets, tokens.ids_T + 1));
    for (const int64_t target : numbers_of(batch.targets)) targets.push_back(target);
  }
  ASSERT_EQ(targets.size(), 22u);
  for (size_t i = 0; i < targets.size(); ++i) EXPECT_EQ(targets[i], static_cast<int64_t>(i) + 2);
}

TEST(EvalPass, RanksShareEachBatchAndMayHaveNone) {
  for (const int64_t count : {2, 17, 23, 40}) {
    const EvalPass pass(counted(count), 5, 4);
    for (int64_t i = 0; i < pass.batches(); ++i) {
      const Batch whole = pass.batch(i);
      std::vector<at::Tensor> ids, targets;
      for (int64_t rank = 0; rank < 3; ++rank) {
        const Batch part = pass.batch(i, rank_rows(4, rank, 3));
        const TokenList& tokens = part.inputs.tokens;
        EXPECT_EQ(tokens.sequences.tokens(), tokens.ids_T.size(0));
        if (tokens.ids_T.size(0) > 0) {
          EXPECT_EQ(tokens.ids_T[0].item<int64_t>(), tokens.first_token + 1);
        }
        ids.push_back(tokens.ids_T);
        targets.push_back(part.targets);
      }
      EXPECT_TRUE(at::equal(at::cat(ids), whole.inputs.tokens.ids_T));
      EXPECT_TRUE(at::equal(at::cat(targets), whole.targets));
    }
  }
}

TEST(EvalPass, StopsAfterMaxBatchesAndNeedsTwoTokens) {
  EXPECT_EQ(EvalPass(Tokens(std::vector<int32_t>(100, 1)), 5, 2, 4).batches(), 4);
  EXPECT_EQ(EvalPass(Tokens(std::vector<int32_t>(11, 1)), 5, 2, 4).batches(), 1);
  EXPECT_THROW(EvalPass(Tokens(std::vector<int32_t>(1, 1)), 5, 2), ConfigError);
  EXPECT_THROW(EvalPass(Tokens(std::vector<int32_t>(11, 1)), 5, 2).batch(1), Error);
}

TEST(EvalPass, MaskedTokensAreNoTargets) {
  const EvalPass pass(Tokens({10, 11, 12, 13}, {0, 0, 1, 1}), 3, 1);
  const Batch batch = pass.batch(0);
  EXPECT_EQ(numbers_of(batch.targets), (std::vector<int64_t>{kIgnoredTarget, 12, 13}));
  EXPECT_EQ(numbers_of(batch.inputs.tokens.ids_T), (std::vector<int64_t>{10, 11, 12}));
}

TEST_F(LoaderFiles, ADatasetOfTextGivesBothKindsOfBatches) {
  std::ofstream(dir_ / "valid", std::ios::binary) << "abcdefghijk";
  const auto data = open_data({.sequence = 4,
                               .domains = {{.name = "a", .train = (dir_ / "a").string()},
                                           {.name = "b",
                                            .train = (dir_ / "b").string(),
                                            .valid = (dir_ / "valid").string()}}},
                              1);
  EXPECT_EQ(data->traits().vocabulary, 256);
  EXPECT_EQ(data->traits().sequence, 4);
  EXPECT_EQ(data->traits().channels, 0);
  EXPECT_EQ(data->unit(), "tokens");
  ASSERT_TRUE(data->tokenizer());
  const auto source = data->training(6, 2);
  EXPECT_EQ(source->rows(), 6);
  EXPECT_EQ(source->tokens(), 24);
  EXPECT_EQ(source->batch(3, 0, 1, {0, 6}).inputs.tokens.ids_T.size(0), 24);
  const auto sets = data->evaluation(2, -1);
  ASSERT_EQ(sets.size(), 1u);
  EXPECT_EQ(sets[0].name, "b");
  ASSERT_EQ(sets[0].source->batches(), 2);
  const Batch last = sets[0].source->batch(1, {0, 2});
  EXPECT_EQ(numbers_of(last.targets), (std::vector<int64_t>{'j', 'k'}));
  EXPECT_EQ(last.inputs.tokens.domains_T[0].item<int64_t>(), 1);
  EXPECT_EQ(last.inputs.tokens.num_domains, 2);
}

}  // namespace
}  // namespace moe::data
