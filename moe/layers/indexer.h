#pragma once
// T tokens, Q of one sequence, C positions up to the last of them, D width, J heads, I their width.

#include <moe/flow/key_choices.h>
#include <moe/flow/sequences.h>
#include <moe/layers/mixers/latent_attention.h>
#include <moe/layers/norm.h>
#include <moe/ops/rope.h>

namespace moe::layers {

/// What an indexer makes of tokens.
struct IndexerTokens {
  Tensor q_TJI, key_TI, weight_TJ;
};

/// The indexer of sparse attention; its formula and its parameters stand at moe::Indexer. Choices
/// carry no gradient, and its parameters want none.
class KeyIndexerImpl : public Module {
 public:
  KeyIndexerImpl(const Indexer& options, const MixerShape& shape, int64_t q_rank);

  /// From the layer's input and the normalised compressed queries (T, q_rank); `table` turns the
  /// first numbers of a head (null: none).
  IndexerTokens forward(const Tensor& x_TD, const Tensor& compressed_TQ,
                        const ops::RopeTable* table, at::ScalarType type);
  /// What the last Q of C tokens of one sequence see. What they get in float32 on the CPU depends
  /// on this sequence alone, to the bit. Undefined where C is at most top_k.
  Tensor choose(const Tensor& q_QJI, const Tensor& weight_QJ, const Tensor& key_CI) const;

 private:
  Indexer options_;
  Tensor w_q, w_k, w_weights;
  Norm k_norm{nullptr};
};
TORCH_MODULE(KeyIndexer);

}  // namespace moe::layers
