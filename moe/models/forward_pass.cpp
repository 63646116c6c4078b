// B batch, S sequence, V vocabulary, D width, T real tokens, E experts, K choices, N pairs.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/autograd.h>

#include <moe/base/error.h>
#include <moe/flow/packing.h>
#include <moe/layers/chunked_loss.h>
#include <moe/models/budget.h>
#include <moe/models/forward_pass.h>

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

void add_routing(NamedTensors& out, const LayerReport& layer, const Packing& packing) {
  const auto add = [&](const char* what, const Tensor& table_TX, double at_padding) {
    out.emplace_back(concat("layers.", layer.layer, '.', what),
                     packing.unpack(table_TX, at_padding).flatten(0, 1));
  };
  const Tensor& logits_TE = layer.routing.logits_TE;
  if (logits_TE.defined()) add("router_logits", logits_TE.detach().to(at::kFloat), 0);
  const auto [experts_TK, weights_TK] = choice_tables(layer.routing);
  add("experts", experts_TK, -1);
  add("weights", weights_TK, 0);
}

/// What the decoder of an encoder-decoder reads.
TokenRows decoder_rows(const TokenRows& rows) {
  return {rows.decoder_BS, at::ones_like(rows.decoder_BS, at::kBool)};
}

/// The gradient of each of `parameters` that is trained; undefined for the others.
std::vector<Tensor> gradients_of(const Tensor& loss, const Parameters& parameters) {
  std::vector<Tensor> trained, out;
  for (const auto& parameter : parameters)
    if (parameter.tensor.requires_grad()) trained.push_back(parameter.tensor);
  const auto found = trained.empty()
                         ? std::vector<Tensor>()
                         : torch::autograd::grad({loss}, trained, {}, /*retain_graph=*/false,
                                                 /*create_graph=*/false, /*allow_unused=*/true);
  for (size_t p = 0, t = 0; p < parameters.size(); ++p) {
    if (!parameters[p].tensor.requires_grad()) {
      out.emplace_back();
      continue;
    }
    out.push_back(found[t].defined() ? found[t] : at::zeros_like(trained[t]));
    ++t;
  }
  return out;
}

void add_gradients(NamedTensors& out, const Model& model, const Tensor& loss,
                   const TensorMap* names) {
  const Parameters parameters = tensors_of(model);
  const auto gradients = gradients_of(loss, parameters);
  out.emplace_back("loss", loss.detach());
  if (!names) {
    for (size_t p = 0; p < parameters.size(); ++p)
      if (gradients[p].defined()) out.emplace_back("grad." + parameters[p].name, gradients[p]);
    return;
  }
  for (const auto& tensor : names->tensors())
    if (gradients[tensor.pieces.front().parameter].defined())
      out.emplace_back("grad." + tensor.name,
                       to_foreign(tensor, [&](size_t p) { return gradients[p]; }));
}

}  // namespace

Tensor next_token_loss(Model& model, const Tensor& hidden_TD, const TokenRows& all_rows) {
  constexpr int64_t kIgnored = -100;
  const TokenRows rows = all_rows.decoder_BS.defined() ? decoder_rows(all_rows) : all_rows;
  const int64_t S = rows.ids_BS.size(1);
  const Packing packing(rows.valid_BS);
  Tensor target_BS = at::full_like(rows.ids_BS, kIgnored);
  // A target behind the last real token of a row, or before its first, is padding or predicted from
  // it.
  target_BS.narrow(1, 0, S - 1)
      .copy_(rows.ids_BS.narrow(1, 1, S - 1)
                 .masked_fill(rows.valid_BS.narrow(1, 1, S - 1).logical_not(), kIgnored));
  const layers::Head head = {[&](const Tensor& hidden_MD) { return model.head(hidden_MD); },
                             model.traits().outputs};
  const auto [sum, targets, correct] =
      layers::cross_entropy(head, hidden_TD, packing.pack(target_BS), {.ignored = kIgnored});
  check(targets > 0, kPlaceOfForward,
        "expected at least two tokens that are no padding in some row, got none: there is nothing "
        "to predict. Give longer rows.");
  const auto type = at::promoteTypes(hidden_TD.scalar_type(), at::kFloat);
  return (sum / static_cast<double>(targets)).to(type);
}

NamedTensors forward_pass(Model& model, const TokenRows& rows, const ForwardRequest& request) {
  const at::AutoGradMode grad_mode(request.gradients);
  const auto device = model.device();
  TokenRows here = {rows.ids_BS.to(device), rows.valid_BS.to(device)};
  const Packing read(here.valid_BS);
  ModelInputs inputs;
  inputs.tokens.sequences = read.sequences();
  inputs.tokens.ids_T = read.pack(here.ids_BS);
  Packing packing = read;  // of the rows that the head is for
  if (rows.decoder_BS.defined()) {
    here.decoder_BS = rows.decoder_BS.to(device);
    packing = Packing(here.decoder_BS.size(0), here.decoder_BS.size(1));
    inputs.decoder.sequences = packing.sequences();
    inputs.decoder.ids_T = packing.pack(here.decoder_BS);
  }
  ForwardContext context;
  set_budget(context, request.budget, model, kPlaceOfForward);
  if (request.any_length)
    context.context_length =
        std::max(inputs.tokens.sequences.end_position(), inputs.decoder.sequences.end_position());
  const ModelOutput output = model.forward(inputs, context);

  NamedTensors out;
  {
    const at::NoGradGuard no_grad;
    const Tensor logits_TV = model.head(output.hidden_TD.detach());
    out.emplace_back("logits", packing.unpack(logits_TV.to(at::kFloat)));
  }
  if (request.routing)
    for (const auto& layer : output.layers)
      add_routing(out, layer, layer.layer < model.traits().encoder_layers ? read : packing);
  if (request.gradients)
    add_gradients(out, model, next_token_loss(model, output.hidden_TD, here), request.names);
  return out;
}

}  // namespace moe::models
