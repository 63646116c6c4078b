// B batch, S sequence, T tokens, K choices, E experts, U rows.

#include <fstream>
#include <numeric>
#include <tests/support/message_of.h>
#include <tests/support/temporary_folder.h>
#include <tests/support/tiny_model.h>

#include <gtest/gtest.h>

#include <moe/analyze/counts.h>
#include <moe/data/loader.h>
#include <moe/models/forward_pass.h>

namespace moe::analyze {
namespace {

constexpr int64_t kSequence = 16;

/// Domains of `bytes` bytes of validation data each, drawn from alphabets of their own.
class Counting : public testing::Test {
 protected:
  data::Corpus corpus(const std::vector<std::pair<std::string, int64_t>>& domains) {
    data::DataOptions options{.sequence = kSequence};
    for (const auto& [name, bytes] : domains) {
      data::DomainOptions domain{.name = name, .train = write(name + "-train", 40)};
      if (bytes > 0) domain.valid = write(name + "-valid", bytes);
      options.domains.push_back(domain);
    }
    return data::Corpus(options);
  }

  std::string write(const std::string& name, int64_t bytes) {
    const std::string path = (folder_ / name).string();
    std::ofstream out(path, std::ios::binary);
    for (int64_t i = 0; i < bytes; ++i)
      out.put(static_cast<char>('a' + (i * i * 7 + static_cast<int64_t>(name[0]) + i) % 23));
    return path;
  }

  test::TemporaryFolder folder_;
  models::LoadedModel loaded_ = test::tiny_text_model();
};

int64_t sum(const std::vector<int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

TEST_F(Counting, EveryTargetCountsOncePerChoice) {
  // 50 bytes are 49 targets: rows of 16, 16, 16 and 1; 33 bytes are 32: two whole rows.
  const auto text = corpus({{"a", 50}, {"b", 33}});
  const auto counts = count_routing(*loaded_.model, text, {.batch = 3, .max_batches = -1});
  EXPECT_EQ(counts.domains, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(counts.domain_U, (std::vector<int64_t>{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(counts.tokens, 49 + 32);
  ASSERT_EQ(counts.layers.size(), 1u);
  const auto& layer = counts.layers.front();
  EXPECT_EQ(layer.layer, 1);
  EXPECT_EQ(layer.experts, 3);
  ASSERT_EQ(layer.counts_UE.size(), 6u * 3);
  EXPECT_EQ(sum(layer.counts_UE), 2 * (49 + 32));
  EXPECT_EQ(layer.counts_UE[9] + layer.counts_UE[10] + layer.counts_UE[11], 2);

  const auto first = count_routing(*loaded_.model, text,
                                   {.batch = 3, .max_batches = -1, .choices = Choices::kFirst});
  EXPECT_EQ(sum(first.layers.front().counts_UE), 49 + 32);
}

TEST_F(Counting, AgreesWithTheRoutingOfAForwardPass) {
  const auto text = corpus({{"a", 3 * kSequence + 1}});
  const data::Batch batch = data::EvalPass(text.domains()[0].valid, kSequence, 3).batch(0);
  const Tensor ids_BS = batch.inputs.tokens.ids_T.view({3, kSequence});
  const models::TokenRows rows{ids_BS, ids_BS.ge(0)};
  std::vector<int64_t> expected_UE(3 * 3, 0), first_UE(3 * 3, 0);
  for (const auto& [name, experts_TK] :
       models::forward_pass(*loaded_.model, rows, {.routing = true}))
    if (name == "layers.1.experts")
      for (int64_t t = 0; t < experts_TK.size(0); ++t)
        for (int64_t k = 0; k < experts_TK.size(1); ++k) {
          const auto cell =
              static_cast<size_t>(t / kSequence * 3 + experts_TK[t][k].item<int64_t>());
          ++expected_UE[cell];
          first_UE[cell] += k == 0;
        }
  EXPECT_EQ(count_routing(*loaded_.model, text).layers.front().counts_UE, expected_UE);
  EXPECT_EQ(
      count_routing(*loaded_.model, text, {.choices = Choices::kFirst}).layers.front().counts_UE,
      first_UE);
}

TEST_F(Counting, DoesNotDependOnTheBatch) {
  const auto text = corpus({{"a", 120}, {"b", 90}});
  const auto one = count_routing(*loaded_.model, text, {.batch = 1, .max_batches = -1});
  const auto many = count_routing(*loaded_.model, text, {.batch = 64, .max_batches = -1});
  EXPECT_EQ(one.domain_U, many.domain_U);
  EXPECT_EQ(one.layers.front().counts_UE, many.layers.front().counts_UE);
  const auto limited = count_routing(*loaded_.model, text, {.batch = 2, .max_batches = 2});
  EXPECT_EQ(limited.rows(), 8);
}

TEST_F(Counting, LeavesOutDomainsWithoutValidationData) {
  const auto counts = count_routing(*loaded_.model, corpus({{"a", 40}, {"b", 0}, {"c", 40}}));
  EXPECT_EQ(counts.domains, (std::vector<std::string>{"a", "c"}));
  EXPECT_ERROR(count_routing(*loaded_.model, corpus({{"a", 0}})), "validation data");
}

TEST_F(Counting, RefusesDenseModelsAndNoBatches) {
  models::DecoderOptions options = test::tiny_text_options();
  options.uniform.moe.num_experts = 0;
  const auto text = corpus({{"a", 40}});
  EXPECT_ERROR(count_routing(*test::tiny_model(options), text), "dense");
  EXPECT_ERROR(count_routing(*loaded_.model, text, {.max_batches = 0}), "batch");
  EXPECT_ERROR(count_routing(*loaded_.model, text, {.batch = 0}), "batch");
}

}  // namespace
}  // namespace moe::analyze
