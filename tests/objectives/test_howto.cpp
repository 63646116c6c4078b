// The objective of docs/howto/add_an_objective.md. N rows, O outputs.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/objectives/objective.h>

#include "tests/objectives/rows_model.h"
#include "tests/support/howto.h"
#include "tests/support/message_of.h"

namespace moe::objectives::objectives_table {
ObjectiveRegistry::Entry make_margin();
}  // namespace moe::objectives::objectives_table

namespace moe::test {
namespace {

const bool kRegistered =
    register_howto(objectives::objectives(), "margin", objectives::objectives_table::make_margin());

TEST(HowTo, TheObjectiveOfThePageIsItsFormula) {
  ASSERT_TRUE(kRegistered);
  RowsModel model(3, 3);
  const at::NoGradGuard no_grad;
  model.w_OD.copy_(at::eye(3, at::kDouble));
  objectives::ObjectiveSpec spec{.kind = "margin"};
  spec.options.set("margin", 2.0);
  const auto objective =
      spec.make(objectives::ObjectiveShape{.model = model.traits(), .data = {.classes = 3}});
  const auto batch = batch_of(at::tensor({5.0, 1.0, 2.0, 1.0, 1.5, 1.0}, at::kDouble).view({2, 3}),
                              at::tensor({0, 1}, at::kLong));
  const auto sums_M =
      objective->forward(model, model.forward(batch.inputs, {}), batch, at::ScalarType::Undefined)
          .sums_M;
  EXPECT_NEAR(sums_M[0].item<double>(), 0 + 1.5, 1e-12);
  EXPECT_NEAR(objective->metrics(sums_M).back().second, 0.5, 1e-12);
  spec.options.set("margin", 0.0);
  EXPECT_ERROR(spec.validate("train.objective"), "'train.objective.margin' above 0, got 0");
}

}  // namespace
}  // namespace moe::test
