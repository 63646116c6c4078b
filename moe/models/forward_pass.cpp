// B batch, S sequence, V vocabulary, T tokens, E experts, K choices, N pairs.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/base/error.h>
#include <moe/models/forward_pass.h>
#include <moe/models/tensors.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfForward = "models/forward";

/// Experts and weights of every token as tables (T, K).
std::pair<Tensor, Tensor> choice_tables(const Routing& routing) {
  const int64_t T = routing.tokens();
  const int64_t K = routing.choices > 0 ? routing.choices
                    : T > 0             ? routing.offsets.diff().max().item<int64_t>()
                                        : 0;
  const Tensor tokens_N = routing.tokens_N();
  const Tensor column_N =
      at::arange(routing.pairs(), tokens_N.options()) - routing.offsets.index_select(0, tokens_N);
  const Tensor place_N = tokens_N * K + column_N;
  const Tensor dropped_N = routing.experts_N.eq(routing.num_experts);
  const Tensor weights_N = routing.weights_N.detach().to(at::kFloat);
  Tensor experts_TK = at::full({T * K}, -1, routing.experts_N.options());
  Tensor weights_TK = at::zeros({T * K}, weights_N.options());
  experts_TK.scatter_(0, place_N, routing.experts_N.masked_fill(dropped_N, -1));
  weights_TK.scatter_(0, place_N, weights_N.masked_fill(dropped_N, 0));
  return {experts_TK.view({T, K}), weights_TK.view({T, K})};
}

void add_routing(NamedTensors& out, const LayerReport& layer, const Tensor& padding_T) {
  const auto name = [&](const char* what) { return concat("layers.", layer.layer, '.', what); };
  const Tensor padding_T1 = padding_T.unsqueeze(1);
  const Tensor& logits_TE = layer.routing.logits_TE;
  if (logits_TE.defined())
    out.emplace_back(name("router_logits"),
                     logits_TE.detach().to(at::kFloat).masked_fill(padding_T1, 0));
  const auto [experts_TK, weights_TK] = choice_tables(layer.routing);
  out.emplace_back(name("experts"), experts_TK.masked_fill(padding_T1, -1));
  out.emplace_back(name("weights"), weights_TK.masked_fill(padding_T1, 0));
}

void add_gradients(NamedTensors& out, const LanguageModel& model, const Tensor& loss) {
  std::vector<std::string> names;
  std::vector<Tensor> parameters;
  for (auto& [name, parameter] : named_parameters(model)) {
    if (!parameter.requires_grad()) continue;
    names.push_back(name);
    parameters.push_back(parameter);
  }
  out.emplace_back("loss", loss.detach());
  if (parameters.empty()) return;
  const auto gradients = torch::autograd::grad({loss}, parameters, {}, /*retain_graph=*/false,
                                               /*create_graph=*/false, /*allow_unused=*/true);
  for (size_t i = 0; i < names.size(); ++i)
    out.emplace_back("grad." + names[i],
                     gradients[i].defined() ? gradients[i] : at::zeros_like(parameters[i]));
}

}  // namespace

Tensor next_token_loss(const Tensor& logits_BSV, const TokenRows& rows) {
  constexpr int64_t kIgnored = -100;
  const int64_t S = rows.ids_BS.size(1);
  const Tensor counted = rows.valid_BS.narrow(1, 1, S - 1);
  check(counted.any().item<bool>(), kPlaceOfForward,
        "expected at least two tokens that are no padding in some row, got none: there is nothing "
        "to predict. Give longer rows.");
  const Tensor target =
      rows.ids_BS.narrow(1, 1, S - 1).masked_fill(counted.logical_not(), kIgnored);
  const auto type = at::promoteTypes(logits_BSV.scalar_type(), at::kFloat);
  return at::cross_entropy_loss(logits_BSV.to(type).narrow(1, 0, S - 1).flatten(0, 1),
                                target.flatten(), {}, at::Reduction::Mean, kIgnored);
}

NamedTensors forward_pass(LanguageModel& model, const TokenRows& rows,
                          const ForwardRequest& request) {
  const at::AutoGradMode grad_mode(request.gradients);
  const auto parameters = model.parameters();
  const auto device = parameters.empty() ? at::Device(at::kCPU) : parameters.front().device();
  const TokenRows here = {rows.ids_BS.to(device), rows.valid_BS.to(device)};
  ForwardContext context;
  // Without a mask the attention takes its plain causal path.
  if (!here.valid_BS.all().item<bool>()) context.valid_BS = here.valid_BS;
  const ModelOutput output = model.forward(here.ids_BS, context);

  const Tensor padding_BS = here.valid_BS.logical_not();
  NamedTensors out;
  out.emplace_back(
      "logits", output.logits_BSV.detach().to(at::kFloat).masked_fill(padding_BS.unsqueeze(2), 0));
  if (request.routing)
    for (const auto& layer : output.layers) add_routing(out, layer, padding_BS.flatten());
  if (request.gradients) add_gradients(out, model, next_token_loss(output.logits_BSV, here));
  return out;
}

}  // namespace moe::models
