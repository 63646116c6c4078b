#pragma once
// T tokens, D width.

#include <memory>
#include <vector>

#include <moe/flow/output.h>
#include <moe/layers/block.h>
#include <moe/models/forward_context.h>

namespace moe::models {

/// Blocks one behind another: what architectures are made of. Parameters "0.…", "1.…", … by block.
/// Of a model of several stacks `first_layer` is the number of the first block's layer.
class Stack : public Module {
 public:
  Stack(const std::vector<layers::BlockSpec>& specs, const layers::BlockShape& shape,
        int64_t first_layer = 0);

  /// x_TD through all blocks. Reports of those that route are appended to `reports`.
  Tensor forward(const Tensor& x_TD, const TokenList& tokens, const ForwardContext& context,
                 std::vector<LayerReport>& reports);
  /// One entry for each block that routes.
  void end_step(const std::vector<StepStatistics>& statistics);
  GenerationState new_state(int64_t capacity, const at::TensorOptions& tensors) const;

  const std::vector<std::shared_ptr<layers::BlockImpl>>& blocks() const { return blocks_; }
  /// Blocks that route.
  int64_t routing_blocks() const;

 private:
  int64_t first_layer_;
  std::vector<std::shared_ptr<layers::BlockImpl>> blocks_;
};

/// What layer `layer` of a model is told.
LayerContext layer_context(const ForwardContext& context, const TokenList& tokens, size_t layer);

}  // namespace moe::models
