// T tokens, D width.
#include <algorithm>

#include <moe/base/error.h>
#include <moe/flow/earlier_logits.h>
#include <moe/flow/key_choices.h>
#include <moe/models/stack.h>

namespace moe::models {

LayerContext layer_context(const ForwardContext& context, const TokenList& tokens, size_t layer) {
  LayerContext out;
  static_cast<PassContext&>(out) = context;
  out.random = context.random.at_layer(static_cast<uint32_t>(layer));
  out.layer = static_cast<int64_t>(layer);
  out.tokens = tokens;
  if (!context.layer_budgets.empty()) {
    check(layer < context.layer_budgets.size(), "models/stack",
          "expected a budget for each layer, got ", context.layer_budgets.size(),
          " and none for layer ", layer, ". Give one for each, or one for all.");
    out.budget = context.layer_budgets[layer];
  }
  return out;
}

Stack::Stack(const std::vector<layers::BlockSpec>& specs, const layers::BlockShape& shape,
             int64_t first_layer)
    : Module(shape.tensors), first_layer_(first_layer) {
  for (size_t i = 0; i < specs.size(); ++i) {
    blocks_.push_back(register_module(std::to_string(i),
                                      std::make_shared<layers::BlockImpl>(
                                          specs[i], first_layer + static_cast<int64_t>(i), shape)));
    if (i > 0) blocks_[i]->mixer().follow(blocks_[i - 1]->mixer());
  }
  for (const auto& block : blocks_) {
    block->feed_forward().among(routing_blocks());
    block->mixer().among(routing_blocks());
  }
}

Tensor Stack::forward(const Tensor& x_TD, const TokenList& tokens, const ForwardContext& context,
                      std::vector<LayerReport>& reports) {
  check(!context.state || context.state->blocks().size() == blocks_.size(), "models/stack",
        "expected a state of ", blocks_.size(), " layers, got ",
        context.state ? context.state->blocks().size() : 0, ". Use the model's own new_state.");
  Tensor h_TD = x_TD;
  const auto key_choices = std::make_shared<KeyChoices>();
  const auto earlier_logits = std::make_shared<EarlierLogits>();
  for (size_t i = 0; i < blocks_.size(); ++i) {
    LayerContext here = layer_context(context, tokens, static_cast<size_t>(first_layer_) + i);
    here.key_choices = key_choices;
    here.earlier_logits = earlier_logits;
    if (blocks_[i]->routes() && reports.size() < context.counts_so_far.size())
      here.counts_so_far_E = context.counts_so_far[reports.size()];
    if (blocks_[i]->routes() && reports.size() < context.sums_so_far.size())
      here.sums_so_far = context.sums_so_far[reports.size()];
    auto* const state = context.state ? &context.state->blocks()[i] : nullptr;
    auto [y_TD, report] = blocks_[i]->forward(h_TD, here, state, context.recompute);
    h_TD = y_TD;
    if (report) reports.push_back(std::move(*report));
  }
  if (context.state) context.state->advance(tokens.sequences);
  return h_TD;
}

int64_t Stack::routing_blocks() const {
  return std::count_if(blocks_.begin(), blocks_.end(),
                       [](const auto& block) { return block->routes(); });
}

void Stack::end_step(const std::vector<StepStatistics>& statistics) {
  check(routing_blocks() == static_cast<int64_t>(statistics.size()), "models/stack",
        "expected statistics of ", routing_blocks(), " layers that route, got ", statistics.size(),
        ". Pass one entry for each layer that reports.");
  size_t next = 0;
  for (const auto& block : blocks_)
    if (block->routes()) block->feed_forward().end_step(statistics[next++]);
}

GenerationState Stack::new_state(int64_t capacity, const at::TensorOptions& tensors) const {
  std::vector<layers::BlockState> states;
  for (const auto& block : blocks_)
    states.push_back(block->new_state({.capacity = capacity, .tensors = tensors}));
  return GenerationState(std::move(states), capacity);
}

}  // namespace moe::models
