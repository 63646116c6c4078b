// A packed batch of documents has the loss and gradients of each document alone. B batch, S
// sequence, V vocabulary.
#include <tests/models/tiny.h>
#include <tests/support/compare.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <moe/data/loader.h>

namespace moe::models::documents_test {

namespace {

using moe::test::expect_close;
using moe::test::gradients_of;
using moe::test::randomise;
using moe::test::RowsContext;
using moe::test::RowsOutput;
using moe::test::run_rows;
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
double backward_over(Model& model, const data::EvalPass& pass, int64_t& packed_rows) {
  double sum = 0;
  for (int64_t i = 0; i < pass.batches(); ++i) {
    const data::Batch batch = pass.batch(i);
    const Sequences& sequences = batch.inputs.tokens.sequences;
    packed_rows += sequences.count() > sequences.rows().count();
    const Tensor loss =
        at::cross_entropy_loss(moe::test::logits(model, batch.inputs), batch.targets, {},
                               at::Reduction::Sum, data::kIgnoredTarget);
    loss.backward();
    sum += loss.item<double>();
  }
  return sum;
}

void expect_packed_equals_alone(const DecoderOptions& options, at::ScalarType type,
                                double tolerance) {
  const auto packed = tiny::make(options), alone = tiny::make(options);
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

TEST(PackedDocuments, OneDocumentARowIsThePlainPass) {
  const auto model = tiny::make(tiny::options());
  const Tensor ids_BS = tiny::ids(2, 6);
  ModelInputs packed = moe::test::inputs_of(ids_BS, Packing(2, 6));
  packed.tokens.sequences.packed_rows = Runs::equal(2, 6);
  moe::test::expect_identical(moe::test::logits(*model, packed).view({2, 6, -1}).detach(),
                              run_rows(*model, ids_BS).logits_BSV.detach());
}

}  // namespace

}  // namespace moe::models::documents_test
