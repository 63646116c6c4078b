// Documents that share a row get what each gets alone. B batch, S sequence, D width.
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/layers/attention.h>
#include <moe/layers/document_groups.h>

namespace moe::layers::attention_documents_test {

namespace {

using moe::test::expect_close;
using moe::test::gradients_of;
using moe::test::normal;
using moe::test::randomise;

constexpr int64_t B = 3, S = 7, D = 12;

/// Lengths of the documents of each row.
const std::vector<std::vector<int64_t>> kLengths = {{2, 1, 4}, {7}, {3, 4}};

Tensor document_numbers() {
  return at::tensor({0, 0, 1, 2, 2, 2, 2, 5, 5, 5, 5, 5, 5, 5, 0, 0, 0, 9, 9, 9, 9}, at::kLong)
      .view({B, S});
}

std::vector<std::pair<std::string, AttentionOptions>> document_forms() {
  return {{"multi-head", {.heads = 3}},
          {"grouped-query", {.heads = 6, .kv_heads = 2}},
          {"multi-query", {.heads = 3, .kv_heads = 1}},
          {"wide heads and biases", {.heads = 2, .head_dim = 8, .bias = true}},
          {"qk_norm", {.heads = 6, .kv_heads = 3, .qk_norm = true, .rope_theta = 50}},
          {"bidirectional", {.heads = 3, .causal = false}}};
}

struct Passed {
  Tensor y_BSD, x_grad_BSD;
  std::map<std::string, Tensor> gradients;
};

/// Output and gradients of sum(y · upstream), for all rows at once or document by document.
Passed pass(AttentionOptions options, const RoutingContext& context, at::ScalarType type,
            bool packed, const Tensor& valid_BS = {}) {
  options.d_model = D;
  Attention attention(options);
  randomise(*attention, 1);
  attention->to(type);
  const Tensor x_BSD = normal({B, S, D}, 2).to(type).requires_grad_(true);
  const Tensor upstream_BSD = normal({B, S, D}, 3).to(type);
  Passed out;
  if (packed) {
    RoutingContext told = context;
    told.documents = documents_of(document_numbers());
    out.y_BSD = attention(x_BSD, valid_BS, told, nullptr);
  } else {
    std::vector<Tensor> rows;
    for (int64_t b = 0; b < B; ++b) {
      std::vector<Tensor> parts;
      int64_t begin = 0;
      for (const int64_t length : kLengths[static_cast<size_t>(b)]) {
        parts.push_back(attention(x_BSD.slice(0, b, b + 1).slice(1, begin, begin + length),
                                  Tensor(), context, nullptr));
        begin += length;
      }
      rows.push_back(at::cat(parts, 1));
    }
    out.y_BSD = at::cat(rows, 0);
  }
  (out.y_BSD * upstream_BSD).sum().backward();
  out.x_grad_BSD = x_BSD.grad();
  out.gradients = gradients_of(*attention);
  return out;
}

void expect_alike(const Passed& packed, const Passed& alone, double tolerance) {
  expect_close(packed.y_BSD, alone.y_BSD, tolerance, "y");
  expect_close(packed.x_grad_BSD, alone.x_grad_BSD, tolerance, "x");
  for (const auto& [name, gradient] : alone.gradients)
    expect_close(packed.gradients.at(name), gradient, tolerance, name);
}

TEST(AttentionDocuments, PackedEqualsEachAlone) {
  for (const auto& [name, options] : document_forms()) {
    SCOPED_TRACE(name);
    const RoutingContext context;
    expect_alike(pass(options, context, at::kDouble, true),
                 pass(options, context, at::kDouble, false), 1e-12);
    expect_alike(pass(options, context, at::kFloat, true),
                 pass(options, context, at::kFloat, false), 2e-5);
  }
}

/// Dropout so rare that it never comes takes the path with every weight in memory.
TEST(AttentionDocuments, PackedEqualsEachAloneWithWeightsInFull) {
  RoutingContext context;
  context.training = true;
  for (auto [name, options] : document_forms()) {
    SCOPED_TRACE(name);
    options.dropout = 1e-13;
    expect_alike(pass(options, context, at::kDouble, true),
                 pass(options, context, at::kDouble, false), 1e-10);
  }
}

/// Marks that hide nothing take the path with a mask over whole rows.
TEST(AttentionDocuments, PackedEqualsEachAloneWithAMask) {
  const Tensor valid_BS = document_numbers().ge(0);
  for (const auto& [name, options] : document_forms()) {
    SCOPED_TRACE(name);
    expect_alike(pass(options, {}, at::kDouble, true, valid_BS),
                 pass(options, {}, at::kDouble, false), 1e-12);
  }
}

TEST(AttentionDocuments, Bfloat16IsCloseToFloat32) {
  RoutingContext narrow;
  narrow.compute = at::kBFloat16;
  for (const auto& [name, options] : document_forms()) {
    SCOPED_TRACE(name);
    const Tensor wide = pass(options, {}, at::kFloat, true).y_BSD;
    const double scale = wide.abs().max().item<double>();
    expect_close(pass(options, narrow, at::kFloat, true).y_BSD.to(at::kFloat) / scale, wide / scale,
                 0.03);
  }
}

TEST(AttentionDocuments, PaddingBehindDocumentsIsSeenByNobody) {
  const at::NoGradGuard no_grad;
  const Tensor x_BSD = normal({B, S, D}, 2);
  Tensor valid_BS = document_numbers().ge(0);
  valid_BS.slice(1, S - 2).fill_(false);
  for (auto [name, options] : document_forms()) {
    SCOPED_TRACE(name);
    options.d_model = D;
    Attention attention(options);
    randomise(*attention, 1);
    RoutingContext context;
    context.documents = documents_of(document_numbers());
    const Tensor y_BSD = attention(x_BSD, valid_BS, context, nullptr);
    EXPECT_TRUE(y_BSD.isfinite().all().item<bool>());
    context.documents = documents_of(document_numbers().slice(1, 0, S - 2));
    expect_close(y_BSD.slice(1, 0, S - 2),
                 attention(x_BSD.slice(1, 0, S - 2), Tensor(), context, nullptr), 1e-12);
  }
}

TEST(AttentionDocuments, ACacheBesideThemIsRefused) {
  const at::NoGradGuard no_grad;
  Attention attention(AttentionOptions{.d_model = D, .heads = 3});
  randomise(*attention, 1);
  KeyValueCache cache = {at::zeros({B, S, 3, 4}, at::kDouble),
                         at::zeros({B, S, 3, 4}, at::kDouble)};
  RoutingContext context;
  context.documents = documents_of(document_numbers());
  EXPECT_ERROR(attention(normal({B, S, D}, 2), Tensor(), context, &cache),
               "one document a row beside a cache");
}

TEST(Documents, PositionsCountFromEachBeginning) {
  const Documents documents = documents_of(document_numbers());
  EXPECT_TRUE(documents.position_BS.equal(
      at::tensor({0, 1, 0, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 0, 1, 2, 3}, at::kLong)
          .view({B, S})));
  const DocumentGroups groups = group_documents(documents.position_BS);
  ASSERT_EQ(groups.groups.size(), 4u);  // lengths 1, 2, 3 to 4, 5 to 8
  EXPECT_TRUE(groups.groups[2].token_NL.equal(
      at::tensor({3, 4, 5, 6, 14, 15, 16, 16, 17, 18, 19, 20}, at::kLong).view({3, 4})));
  std::vector<Tensor> tokens;
  for (const auto& group : groups.groups) tokens.push_back(group.token_NL.flatten());
  EXPECT_TRUE(at::cat(tokens).index_select(0, groups.place_T).equal(at::arange(B * S, at::kLong)));
}

TEST(Documents, OneARowIsNoneToTell) {
  EXPECT_FALSE(documents_of(at::zeros({3, 4}, at::kLong)).defined());
  EXPECT_FALSE(documents_of(at::tensor({4, 4, 7, 7}, at::kLong).view({2, 2})).defined());
  EXPECT_FALSE(documents_of(at::zeros({0, 4}, at::kLong)).defined());
  EXPECT_FALSE(documents_of(at::zeros({2, 1}, at::kLong)).defined());
  EXPECT_ERROR(documents_of(at::tensor({0, 1, 0}, at::kLong).view({1, 3})), "never fall");
  EXPECT_ERROR(documents_of(at::zeros({2, 2}, at::kDouble)), "int64 numbers");
}

}  // namespace

}  // namespace moe::layers::attention_documents_test
