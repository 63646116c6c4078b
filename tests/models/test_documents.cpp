// A packed batch of documents has the loss and gradients of each document alone. B batch, S
// sequence, V vocabulary.
#include <tests/models/tiny.h>
#include <tests/support/compare.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/models/evaluate.h>

namespace moe::models::documents_test {

namespace {

using moe::test::expect_close;
using moe::test::gradients_of;
using moe::test::randomise;
using moe::test::run_rows;
using moe::test::RowsContext;
using moe::test::RowsOutput;
namespace tiny = moe::test::tiny;

/// Ten documents of 2 to 12 tokens, none longer than a row.
data::Tokens tiny_documents() {
  std::vector<int32_t> ids;
  std::vector<int64_t> starts;
  for (const int length : {5, 2, 12, 3, 3, 4, 7, 2, 9, 6}) {
    starts.push_back(static_cast<int64_t>(ids.size()));
    for (int i = 0; i < length; ++i)
      ids.push_back(static_cast<int32_t>((7 * ids.size() * ids.size() + 3) % tiny::kVocabulary));
  }
  return data::Tokens(ids, {}, starts);
}

/// The documents each as tokens of its own.
std::vector<data::Tokens> one_by_one(const data::Tokens& tokens) {
  std::vector<data::Tokens> out;
  const auto starts = tokens.starts();
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t end = i + 1 < starts.size() ? starts[i + 1] : tokens.size();
    std::vector<int32_t> ids;
    for (int64_t at = starts[i]; at < end; ++at) ids.push_back(static_cast<int32_t>(tokens[at]));
    out.emplace_back(ids);
  }
  return out;
}

/// Sum of the losses of all targets of `pass`; gradients are added to the model's.
double backward_over(Model& model, const data::EvalPass& pass, int64_t& with_documents) {
  double sum = 0;
  for (int64_t i = 0; i < pass.batches(); ++i) {
    const data::Batch batch = pass.batch(i);
    with_documents += batch.document_BS.defined();
    const Tensor logits_BSV = run_rows(model, batch.input_BS, context_of(batch)).logits_BSV;
    const Tensor loss = at::cross_entropy_loss(logits_BSV.flatten(0, 1), batch.target_BS.flatten(),
                                               {}, at::Reduction::Sum, data::kIgnoredTarget);
    loss.backward();
    sum += loss.item<double>();
  }
  return sum;
}

void expect_packed_equals_alone(const DecoderOptions& options, at::ScalarType type,
                                double tolerance) {
  const auto packed = tiny::make(options), alone = tiny::make("decoder", options);
  for (const auto& model : {packed, alone}) {
    randomise(*model, 2, 0.4);
    model->to(type);
  }
  const data::Tokens tokens = tiny_documents();
  int64_t several = 0, none = 0;
  const double packed_loss =
      backward_over(*packed, data::EvalPass(tokens, tiny::kContext, 2), several);
  EXPECT_GT(several, 0);
  double alone_loss = 0;
  for (const auto& document : one_by_one(tokens))
    alone_loss += backward_over(*alone, data::EvalPass(document, document.size() - 1, 1), none);
  EXPECT_EQ(none, 0);
  EXPECT_NEAR(packed_loss, alone_loss, tolerance * alone_loss);
  const auto expected = gradients_of(*alone);
  for (const auto& [name, gradient] : gradients_of(*packed))
    expect_close(gradient, expected.at(name), tolerance, name);
}

TEST(PackedDocuments, HaveTheLossAndGradientsOfEachAlone) {
  for (const auto& [name, options] : tiny::variants()) {
    SCOPED_TRACE(name);
    expect_packed_equals_alone(options, at::kDouble, 1e-10);
    expect_packed_equals_alone(options, at::kFloat, 2e-4);
  }
}

TEST(PackedDocuments, EvaluateAsEachAlone) {
  const auto model = tiny::make(tiny::options());
  randomise(*model, 2, 0.4);
  const data::Tokens tokens = tiny_documents();
  Evaluation sum;
  for (const auto& document : one_by_one(tokens)) sum += evaluate(*model, document);
  const Evaluation packed = evaluate(*model, tokens);
  EXPECT_EQ(packed.tokens, sum.tokens);
  EXPECT_NEAR(packed.loss_sum, sum.loss_sum, 1e-10 * sum.loss_sum);
  // Read as one text they are predicted otherwise.
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens.size(); ++i) ids.push_back(static_cast<int32_t>(tokens[i]));
  EXPECT_GT(std::abs(evaluate(*model, data::Tokens(ids)).loss() - packed.loss()), 1e-6);
}

TEST(PackedDocuments, OneDocumentARowIsThePlainPass) {
  const auto model = tiny::make(tiny::options());
  const Tensor ids_BS = tiny::ids(2, 6);
  RowsContext context;
  context.document_BS = at::tensor({3, 3, 3, 3, 3, 3, 0, 0, 0, 0, 0, 0}, at::kLong).view({2, 6});
  moe::test::expect_identical(run_rows(*model, ids_BS, context).logits_BSV.detach(),
                              run_rows(*model, ids_BS).logits_BSV.detach());
}

TEST(PackedDocuments, AreRefusedBesideACacheAndInOtherShapes) {
  const auto model = tiny::make(tiny::options());
  const Tensor ids_BS = tiny::ids(1, 4);
  RowsContext context;
  context.document_BS = at::tensor({0, 0, 1, 1}, at::kLong).view({1, 4});
  auto state = model->new_state(1, 8, at::kFloat);
  context.state = &state;
  EXPECT_ERROR(run_rows(*model, ids_BS, context), "beside a cache");
  context.state = nullptr;
  context.document_BS = context.document_BS.slice(1, 0, 3);
  EXPECT_ERROR(run_rows(*model, ids_BS, context), "expected document_BS of shape [1, 4]");
  context.document_BS = at::tensor({1, 1, 0, 0}, at::kLong).view({1, 4});
  EXPECT_ERROR(run_rows(*model, ids_BS, context), "never fall");
}

}  // namespace

}  // namespace moe::models::documents_test
