#pragma once
// B batch, S sequence, V vocabulary, T = B·S positions in row order, E experts, K choices.

#include <string>
#include <utility>
#include <vector>

#include <moe/models/model.h>
#include <moe/models/name_map.h>
#include <moe/models/token_rows.h>

namespace moe::models {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// What forward_pass computes beside the logits.
struct ForwardRequest {
  bool routing = false;
  bool gradients = false;
  /// The share of its choices that each layer computes (models/budget.h); none: all.
  std::vector<double> budget = {};
  /// Gradients by the names and in the shapes of another program's checkpoint; null: by ours. The
  /// map must be one of the model's own tensors.
  const TensorMap* names = nullptr;
  /// Rows may be longer than the model's context, as other programs compute them, unless its
  /// positions are learned and end.
  bool any_length = false;
};

/// One forward pass without dropout, as named tensors for comparison with other implementations:
///
///   logits                  (B, S, V) float32; of encoder-decoders for decoder_input_ids
///   layers.I.router_logits  (T, E) float32; absent for routers without scores
///   layers.I.experts        (T, K) int64, in the token's order of choice
///   layers.I.weights        (T, K) float32
///   loss                    () mean cross entropy of token t + 1 given logits t over the targets
///                           that are no padding, without balance terms; of encoder-decoders over
///                           decoder_input_ids
///   grad.NAME               of the loss, for every parameter NAME that is trained; zeros where
///                           nothing reaches it. In the parameters' dtype, the loss in at
///                           least float32.
///
/// Layers of encoder-decoders are counted encoder first; T is that of the ids that a layer reads.
/// Padding holds 0, and expert -1; the model sees the real tokens alone. Where tokens have
/// different numbers of experts, K is the largest and rows are filled up with expert -1 and weight
/// 0; pairs dropped by capacity are too.
///
/// Parameters keep the gradients they had. Throws moe::Error when gradients are asked for and there
/// is no target, and whatever the model throws.
NamedTensors forward_pass(Model& model, const TokenRows& rows, const ForwardRequest& request);

/// () mean cross entropy of each next token of `rows` (of encoder-decoders those of the decoder)
/// given hidden_TD of the real ones. At least
/// float32. Throws moe::Error when there is nothing to predict.
Tensor next_token_loss(Model& model, const Tensor& hidden_TD, const TokenRows& rows);

}  // namespace moe::models
