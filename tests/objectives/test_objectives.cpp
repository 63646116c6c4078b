// What objectives make of outputs and targets. N rows, D width, O outputs.
#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/objectives/evaluate.h>
#include <moe/objectives/kinds/classification.h>
#include <moe/objectives/kinds/next_token.h>
#include <moe/objectives/kinds/regression.h>
#include <moe/parallel/threads.h>

#include "tests/objectives/rows_model.h"
#include "tests/support/gradcheck.h"
#include "tests/support/message_of.h"

namespace moe::test {
namespace {

using objectives::Metric;
using objectives::ObjectiveShape;
using objectives::ObjectiveSpec;

constexpr int64_t N = 9, D = 4, O = 3;

std::shared_ptr<RowsModel> model_of(int64_t outputs = O) {
  auto out = std::make_shared<RowsModel>(D, outputs);
  const at::NoGradGuard no_grad;
  out->w_OD.copy_(normal({outputs, D}, 2));
  return out;
}

data::DataTraits classes(int64_t count) {
  return {.channels = 1, .height = 1, .width = D, .classes = count};
}

/// A batch that fits each kind for a model with O outputs.
data::Batch batch_for(const std::string& kind, uint64_t seed = 1) {
  const Tensor x_ND = normal({N, D}, seed);
  if (kind == "regression") return batch_of(x_ND, normal({N, O}, seed + 100));
  return batch_of(x_ND, at::arange(N, at::kLong).add_(static_cast<int64_t>(seed)).remainder_(O));
}

std::shared_ptr<objectives::Objective> make(const ObjectiveSpec& spec, const models::Model& model) {
  // Text and classes at once, and an id that no text has: every kind finds what it asks for.
  models::ModelTraits traits = model.traits();
  traits.vocabulary = traits.outputs;
  data::DataTraits data = classes(O);
  data.vocabulary = O - 1;
  return spec.make(ObjectiveShape{.model = traits, .data = data});
}

objectives::ObjectiveResult run(const objectives::Objective& objective, RowsModel& model,
                                const data::Batch& batch) {
  return objective.forward(model, model.forward(batch.inputs, {}), batch,
                           at::ScalarType::Undefined);
}

double metric(const std::vector<Metric>& metrics, const std::string& name) {
  for (const auto& [key, value] : metrics)
    if (key == name) return value;
  ADD_FAILURE() << "no metric " << name;
  return NAN;
}

class EveryObjective : public testing::TestWithParam<std::string> {
 protected:
  ObjectiveSpec spec() const { return {.kind = GetParam()}; }
};

TEST_P(EveryObjective, ReportsTheLossItTrainsOnAndTheTargetsItAnnounces) {
  const auto model = model_of();
  const auto objective = make(spec(), *model);
  const auto batch = batch_for(GetParam());
  const auto found = run(*objective, *model, batch);
  EXPECT_TRUE(found.loss.requires_grad());
  EXPECT_FALSE(found.sums_M.requires_grad());
  EXPECT_EQ(found.sums_M.scalar_type(), at::kDouble);
  EXPECT_NEAR(found.sums_M[0].item<double>(), found.loss.item<double>(), 1e-12);
  EXPECT_EQ(found.sums_M[1].item<double>(), static_cast<double>(objective->targets(batch)));
  const auto metrics = objective->metrics(found.sums_M);
  EXPECT_EQ(metrics.front().first, "loss");
  EXPECT_NEAR(metrics.front().second,
              found.loss.item<double>() / static_cast<double>(objective->targets(batch)), 1e-12);
}

TEST_P(EveryObjective, AddsUpOverParts) {
  const auto model = model_of();
  const auto objective = make(spec(), *model);
  const auto batch = batch_for(GetParam());
  const auto part = [&](int64_t begin, int64_t end) {
    data::Batch out = batch;
    out.inputs.pixels_NCHW = batch.inputs.pixels_NCHW.slice(0, begin, end);
    out.targets = batch.targets.slice(0, begin, end);
    return run(*objective, *model, out).sums_M;
  };
  const Tensor whole = run(*objective, *model, batch).sums_M;
  EXPECT_LT((part(0, 4) + part(4, 4) + part(4, N) - whole).abs().max().item<double>(), 1e-12);
}

TEST_P(EveryObjective, HasTheGradientsOfCentralDifferences) {
  const auto model = model_of();
  const auto objective = make(spec(), *model);
  const auto batch = batch_for(GetParam());
  expect_gradients(
      [&](const std::vector<Tensor>& in) {
        models::ModelOutput out;
        out.hidden_TD = in[0].sin();
        return objective->forward(*model, out, batch, at::ScalarType::Undefined).loss;
      },
      {normal({N, D}, 5), model->w_OD});
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryObjective, testing::ValuesIn(objectives::objectives().names()),
                         [](const auto& info) { return info.param; });

TEST(Classification, CountsWhatIsRight) {
  const auto model = model_of();
  const at::NoGradGuard no_grad;
  model->w_OD.zero_();
  model->w_OD.diagonal().fill_(5);
  const Tensor x_ND = at::eye(4, at::kDouble).slice(0, 0, 3);
  const auto objective = make(Classification(), *model);
  const auto sums =
      run(*objective, *model, batch_of(x_ND, at::tensor({0, 1, 0}, at::kLong))).sums_M;
  EXPECT_NEAR(metric(objective->metrics(sums), "accuracy"), 2.0 / 3, 1e-12);
}

TEST(Classification, SmoothsInTrainingOnly) {
  const auto model = model_of();
  const auto batch = batch_for("classification");
  const auto smooth = make(Classification{.label_smoothing = 0.3}, *model),
             plain = make(Classification(), *model);
  const Tensor logits = model->head(batch.inputs.pixels_NCHW.flatten(1), at::kDouble);
  const Tensor expected =
      at::cross_entropy_loss(logits, batch.targets, {}, at::Reduction::Sum, -100, 0.3);
  EXPECT_NEAR(run(*smooth, *model, batch).loss.item<double>(), expected.item<double>(), 1e-12);
  const at::NoGradGuard no_grad;
  EXPECT_EQ(run(*smooth, *model, batch).loss.item<double>(),
            run(*plain, *model, batch).loss.item<double>());
}

TEST(Regression, MeasuresErrorsAndWhatIsExplained) {
  const auto model = model_of(1);
  const Tensor x_ND = normal({N, D}, 7);
  const Tensor targets = normal({N}, 8);
  const Tensor error = model->head(x_ND, at::kDouble).squeeze(1).detach() - targets;
  const auto objective = make(Regression(), *model);
  const auto metrics = objective->metrics(run(*objective, *model, batch_of(x_ND, targets)).sums_M);
  EXPECT_NEAR(metric(metrics, "loss"), error.square().mean().item<double>(), 1e-12);
  EXPECT_NEAR(metric(metrics, "mean_squared_error"), error.square().mean().item<double>(), 1e-12);
  EXPECT_NEAR(metric(metrics, "mean_absolute_error"), error.abs().mean().item<double>(), 1e-12);
  const double spread = (targets - targets.mean()).square().sum().item<double>();
  EXPECT_NEAR(metric(metrics, "r2"), 1 - error.square().sum().item<double>() / spread, 1e-12);
}

TEST(Regression, HasOtherErrorsAndTakesWholeNumbers) {
  const auto model = model_of(1);
  const Tensor x_ND = normal({N, D}, 9);
  const Tensor targets = at::arange(N, at::kLong);
  const Tensor error = model->head(x_ND, at::kDouble).squeeze(1).detach() - targets;
  const auto loss = [&](const Regression& options) {
    return run(*make(options, *model), *model, batch_of(x_ND, targets)).loss.item<double>();
  };
  EXPECT_NEAR(loss({.error = "absolute"}), error.abs().sum().item<double>(), 1e-12);
  const Tensor size = error.abs();
  const Tensor huber = at::where(size.le(2), 0.5 * error.square(), 2 * (size - 1));
  EXPECT_NEAR(loss({.error = "huber", .huber_delta = 2}), huber.sum().item<double>(), 1e-12);
}

TEST(Objectives, RefuseModelsAndDataThatDoNotFitThem) {
  const auto model = model_of();
  EXPECT_ERROR(make({.kind = "next_tokens"}, *model), "expected a registered objective");
  EXPECT_ERROR(
      ObjectiveSpec(NextToken())
          .make(ObjectiveShape{.model = {.vocabulary = 5, .outputs = 5}, .data = classes(3)}),
      "expected text and a model of text");
  EXPECT_ERROR(ObjectiveSpec(NextToken())
                   .make(ObjectiveShape{.model = {.vocabulary = 5, .outputs = 5},
                                        .data = {.vocabulary = 6}}),
               "expected a model that predicts 6 tokens, got 5");
  EXPECT_ERROR(ObjectiveSpec(Classification())
                   .make(ObjectiveShape{.model = model->traits(), .data = classes(4)}),
               "an output for each of 4 classes, got 3");
  EXPECT_ERROR(ObjectiveSpec(Classification())
                   .make(ObjectiveShape{.model = model->traits(), .data = {.vocabulary = 4}}),
               "expected data with classes");
  EXPECT_ERROR(ObjectiveSpec(Regression())
                   .make(ObjectiveShape{.model = model->traits(), .data = {.vocabulary = 4}}),
               "expected data whose targets are numbers");
  EXPECT_ERROR(
      run(*make(Regression(), *model), *model, batch_of(normal({N, D}, 1), normal({N}, 2))),
      "expected targets [9, 3]");
  EXPECT_ERROR(make(Regression{.error = "cubed"}, *model), "squared");
  EXPECT_ERROR(make(NextToken{.label_smoothing = 1}, *model), "label_smoothing' in [0, 1), got 1");
}

/// Rows of one batch that are handed out to ranks.
class Rows final : public data::EvalSource {
 public:
  explicit Rows(data::Batch all) : all_(std::move(all)) {}
  int64_t batches() const override { return 3; }
  int64_t rows() const override { return 4; }
  data::Batch batch(int64_t index, data::RowRange rows) const override {
    const int64_t begin = std::min(N, index * 4 + rows.begin),
                  end = std::min(N, index * 4 + rows.end);
    data::Batch out = all_;
    out.inputs.pixels_NCHW = all_.inputs.pixels_NCHW.slice(0, begin, end);
    out.targets = all_.targets.slice(0, begin, end);
    return out;
  }

 private:
  data::Batch all_;
};

TEST(Evaluate, GivesTheSameOnAnyNumberOfRanksAndCallsTheModelAsOften) {
  const std::vector<data::EvalSet> sets = {
      {"one", std::make_shared<Rows>(batch_for("classification", 1))},
      {"two", std::make_shared<Rows>(batch_for("classification", 2))}};
  const auto run = [&](parallel::Communicator& group) {
    const auto model = model_of();
    auto out = objectives::evaluate(*model, *make(Classification(), *model), sets,
                                    at::ScalarType::Undefined, group);
    EXPECT_EQ(model->calls, 6);
    return out;
  };
  const auto expected = run(*parallel::local());
  EXPECT_EQ(expected.sets[0].targets, N);
  EXPECT_NEAR(expected.loss(), (expected.sets[0].loss + expected.sets[1].loss) / 2, 1e-12);
  for (const int64_t ranks : {2, 3})
    parallel::run_ranks(ranks, [&](const std::shared_ptr<parallel::Communicator>& group) {
      const auto found = run(*group);
      for (size_t i = 0; i < expected.metrics.size(); ++i)
        EXPECT_NEAR(found.metrics[i].second, expected.metrics[i].second, 1e-12);
    });
}

TEST(Evaluate, WithoutSetsHasNoLoss) {
  const auto model = model_of();
  const auto found = objectives::evaluate(*model, *make(Classification(), *model), {},
                                          at::ScalarType::Undefined, *parallel::local());
  EXPECT_TRUE(std::isnan(found.loss()));
  EXPECT_TRUE(found.sets.empty());
}

}  // namespace
}  // namespace moe::test
