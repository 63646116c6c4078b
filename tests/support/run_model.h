#pragma once
// Models run on rows of tokens. B batch, S sequence, T tokens, V vocabulary.

#include <memory>
#include <vector>

#include <moe/flow/packing.h>
#include <moe/models/architectures/decoder.h>
#include <moe/models/model.h>

namespace moe::test {

using at::Tensor;

/// How a model is run on rows, padding included.
struct RowsContext : models::ForwardContext {
  int64_t first_token = 0;
  /// (B, S) bool, false for padding; undefined: all real.
  Tensor valid_BS = {};
};

struct RowsOutput {
  /// (B, S, V), zeros at padding.
  Tensor logits_BSV;
  std::vector<LayerReport> layers;
  Tensor balance;

  const Tensor& balance_loss() const { return balance; }
};

/// The real tokens of ids_BS, one sequence a row.
inline ModelInputs inputs_of(const Tensor& ids_BS, const Packing& packing,
                             int64_t first_token = 0) {
  ModelInputs out;
  out.tokens.sequences = packing.sequences();
  out.tokens.first_token = first_token;
  out.tokens.ids_T = packing.pack(ids_BS);
  return out;
}

inline RowsOutput run_rows(models::Model& model, const Tensor& ids_BS,
                           const RowsContext& context = {}) {
  const Packing packing = context.valid_BS.defined() ? Packing(context.valid_BS)
                                                     : Packing(ids_BS.size(0), ids_BS.size(1));
  const models::ModelOutput out =
      model.forward(inputs_of(ids_BS, packing, context.first_token), context);
  return {packing.unpack(model.head(out.hidden_TD, context.compute)), out.layers,
          out.balance_loss()};
}

/// (T, V) logits of a list of tokens.
inline Tensor logits(models::Model& model, const ModelInputs& inputs,
                     const models::ForwardContext& context = {}) {
  return model.head(model.forward(inputs, context).hidden_TD, context.compute);
}

/// A decoder with memory and numbers.
inline std::shared_ptr<models::Model> make_decoder(const models::DecoderOptions& options,
                                                   uint64_t seed = 1,
                                                   const models::ModelShape& shape = {}) {
  return models::make_model(models::ModelSpec(options), seed, shape);
}

}  // namespace moe::test
