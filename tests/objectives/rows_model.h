#pragma once
// A model whose hidden states are its pixels, and whose head is a matrix. N images, D numbers of an
// image, O outputs.

#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <moe/data/batch.h>
#include <moe/models/model.h>

namespace moe::test {

class RowsModel final : public models::Model {
 public:
  RowsModel(int64_t inputs, int64_t outputs) : Model(at::TensorOptions(at::kDouble)) {
    w_OD = add_parameter("w", {outputs, inputs}, {.role = Role::kHead});
  }

  models::ModelOutput forward(const ModelInputs& inputs, const models::ForwardContext&) override {
    ++calls;
    models::ModelOutput out;
    out.hidden_TD = inputs.pixels_NCHW.flatten(1);
    return out;
  }
  Tensor head(const Tensor& hidden_MD, at::ScalarType) override {
    return at::matmul(hidden_MD, w_OD.t());
  }
  void end_step(const std::vector<StepStatistics>&) override {}
  models::GenerationState new_state(int64_t, at::ScalarType) const override { return {}; }
  models::ModelTraits traits() const override {
    return {.outputs = w_OD.size(0), .channels = 1, .height = 1, .width = w_OD.size(1)};
  }
  void draw(uint64_t) override {}
  std::vector<std::shared_ptr<layers::BlockImpl>> blocks() const override { return {}; }

  Tensor w_OD;
  int64_t calls = 0;
};

/// Rows x_ND as images, with their targets.
inline data::Batch batch_of(const Tensor& x_ND, const Tensor& targets) {
  data::Batch out;
  out.inputs.pixels_NCHW = x_ND.view({x_ND.size(0), 1, 1, x_ND.size(1)});
  out.targets = targets;
  return out;
}

}  // namespace moe::test
