// Shapes: B rows, S sequence.

#include <filesystem>
#include <fstream>
#include <map>

#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <moe/base/error.h>
#include <moe/data/loader.h>

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
                    .domains = {{.name = "a", .train = (dir_ / "a").string(), .weight = 1},
                                {.name = "b", .train = (dir_ / "b").string(), .weight = 0}},
                    .weights = weights});
  }
  std::filesystem::path dir_ = std::filesystem::path(testing::TempDir()) / "moe_loader";
};

bool same(const Batch& a, const Batch& b) {
  return at::equal(a.input_BS, b.input_BS) && at::equal(a.target_BS, b.target_BS) &&
         at::equal(a.domain_B, b.domain_B) && a.first_token == b.first_token;
}

TEST_F(LoaderFiles, TargetsAreTheNextTokensOfTheRowsDomain) {
  const Loader loader(corpus(), {.batch = 16, .seed = 3});
  for (int64_t step = 0; step < 20; ++step) {
    const Batch batch = loader.batch(step);
    ASSERT_EQ(batch.input_BS.sizes(), (at::IntArrayRef{16, 8}));
    ASSERT_EQ(batch.input_BS.scalar_type(), at::kLong);
    EXPECT_EQ(batch.first_token, step * 16 * 8);
    EXPECT_TRUE(at::equal(batch.target_BS, batch.input_BS.add(1)));
    EXPECT_TRUE(at::equal(batch.domain_B, batch.input_BS.select(1, 0).ge(150).to(at::kLong)));
  }
}

TEST_F(LoaderFiles, ReachesEveryWindowAndNoOther) {
  const Loader loader(corpus(), {.batch = 64, .seed = 1});
  std::map<int64_t, int> starts;
  for (int64_t step = 0; step < 100; ++step) {
    const Batch batch = loader.batch(step);
    for (int64_t row = 0; row < 64; ++row) ++starts[batch.input_BS[row][0].item<int64_t>()];
  }
  // Windows of 9 tokens begin at 0..91 of a and at 150..191 of b.
  EXPECT_EQ(starts.size(), 92u + 42u);
  EXPECT_EQ(starts.begin()->first, 0);
  EXPECT_EQ(starts.rbegin()->first, 191);
}

TEST_F(LoaderFiles, DrawsDomainsByWeight) {
  const auto share_of_b = [&](const std::string& weights) {
    const Loader loader(corpus(weights), {.batch = 4000, .seed = 5});
    return static_cast<double>(loader.batch(0).domain_B.sum().item<int64_t>()) / 4000;
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
  EXPECT_FALSE(at::equal(loader.batch(10).input_BS, later.input_BS));
  EXPECT_FALSE(
      at::equal(Loader(corpus(), {.batch = 4, .seed = 8}).batch(9).input_BS, later.input_BS));
}

TEST_F(LoaderFiles, AccumulationDoesNotChangeTheData) {
  const Batch whole = Loader(corpus(), {.batch = 8, .seed = 7}).batch(5);
  const Loader parts(corpus(), {.batch = 4, .seed = 7});
  const Batch first = parts.batch(5, 0, 2), second = parts.batch(5, 1, 2);
  EXPECT_TRUE(at::equal(at::cat({first.input_BS, second.input_BS}), whole.input_BS));
  EXPECT_EQ(first.first_token, whole.first_token);
  EXPECT_EQ(second.first_token, whole.first_token + 4 * 8);
}

TEST_F(LoaderFiles, RanksTogetherSeeTheGlobalBatch) {
  const Loader loader(corpus(), {.batch = 7, .seed = 2});
  const Batch whole = loader.batch(4, 1, 2);
  std::vector<at::Tensor> inputs, domains;
  for (int64_t rank = 0; rank < 3; ++rank) {
    const auto rows = rank_rows(7, rank, 3);
    const Batch part = loader.batch(4, 1, 2, rows);
    EXPECT_EQ(part.first_token, whole.first_token + rows.begin * 8);
    inputs.push_back(part.input_BS);
    domains.push_back(part.domain_B);
  }
  EXPECT_TRUE(at::equal(at::cat(inputs), whole.input_BS));
  EXPECT_TRUE(at::equal(at::cat(domains), whole.domain_B));
  EXPECT_THROW(loader.batch(0, 0, 1, {0, 8}), Error);
  EXPECT_THROW(loader.batch(0, 1, 1), Error);
  EXPECT_THROW(rank_rows(7, 3, 3), Error);
}

TEST_F(LoaderFiles, ADomainOfOneRowHasOneWindow) {
  const Loader loader(corpus("equal", 49), {.batch = 32, .seed = 1});
  const Batch batch = loader.batch(0);
  for (int64_t row = 0; row < 32; ++row)
    if (batch.domain_B[row].item<int64_t>() == 1) {
      EXPECT_EQ(batch.input_BS[row][0].item<int64_t>(), 150);
    }
  EXPECT_GT(batch.domain_B.sum().item<int64_t>(), 0);
  EXPECT_THROW(corpus("equal", 50), ConfigError);
}

TEST(EvalPass, CoversEveryTargetOnceAndIgnoresPadding) {
  std::vector<int32_t> ids(23);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i + 1);
  const EvalPass pass(Tokens(ids), 5, 2, -1, 3);
  ASSERT_EQ(pass.batches(), 3);  // 22 targets, 5 windows, 3 batches
  std::vector<int64_t> targets;
  for (int64_t i = 0; i < pass.batches(); ++i) {
    const Batch batch = pass.batch(i);
    ASSERT_EQ(batch.input_BS.sizes(), (at::IntArrayRef{2, 5}));
    EXPECT_EQ(batch.domain_B[0].item<int64_t>(), 3);
    EXPECT_EQ(batch.first_token, i * 10);
    EXPECT_EQ(batch.valid_BS.defined(), i == 2);  // inputs 20 and 21, then 8 positions of padding
    if (i == 2) {
      EXPECT_EQ(batch.valid_BS.sum().item<int64_t>(), 2);
    }
    for (int64_t k = 0; k < 10; ++k) {
      const int64_t target = batch.target_BS.view(-1)[k].item<int64_t>();
      const int64_t input = batch.input_BS.view(-1)[k].item<int64_t>();
      if (target == kIgnoredTarget) {
        EXPECT_EQ(input, 0);
      } else {
        EXPECT_EQ(target, input + 1);
        targets.push_back(target);
      }
    }
  }
  ASSERT_EQ(targets.size(), 22u);
  for (size_t i = 0; i < targets.size(); ++i) EXPECT_EQ(targets[i], static_cast<int64_t>(i) + 2);
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
  EXPECT_EQ(batch.target_BS[0][0].item<int64_t>(), kIgnoredTarget);
  EXPECT_EQ(batch.target_BS[0][1].item<int64_t>(), 12);
  EXPECT_EQ(batch.target_BS[0][2].item<int64_t>(), 13);
  EXPECT_EQ(batch.input_BS[0][1].item<int64_t>(), 11);
}

}  // namespace
}  // namespace moe::data
