#pragma once
// B batch, S sequence, D width, V vocabulary, E experts, T = B·S tokens in row order.

#include <memory>
#include <vector>

#include <torch/nn/module.h>

#include <moe/base/registry.h>
#include <moe/flow/context.h>
#include <moe/flow/output.h>
#include <moe/layers/kv_cache.h>
#include <moe/models/options.h>
#include <moe/parallel/communicator.h>

namespace moe::models {

using layers::DecoderState;

/// What of a training step's activations is computed again in the backward pass instead of kept:
/// nothing, the MoE layers with the norm before them, or whole blocks. Loss, gradients and
/// statistics are the same to the bit.
enum class Recompute { kNone, kMoE, kBlocks };

/// "none", "moe" or "blocks". Throws ConfigError naming `option` for anything else.
Recompute parse_recompute(const std::string& name, const std::string& option);

/// What a model is told beside its token ids.
struct ForwardContext {
  bool training = false;
  /// Seed and step; layers add their number.
  RandomKey random = {};
  int64_t first_token = 0;
  /// (B, S) bool, false for padding; undefined: all real.
  Tensor valid_BS = {};
  /// (B, S) int64 numbers of the documents that share a row, never falling in it; undefined: every
  /// row is one document. Attention stays inside a document and its positions count from 0 there;
  /// routing and balance terms do not look at it. Refused beside `state`.
  Tensor document_BS = {};
  /// Type of the products; Undefined: that of the parameters.
  at::ScalarType compute = at::ScalarType::Undefined;
  /// Keys and values seen so far, extended by the call; null: none.
  DecoderState* state = nullptr;
  /// In training, where gradients are on.
  Recompute recompute = Recompute::kNone;
  /// (B,) int64 in [0, num_domains): the domain of each row, -1: not known; may be undefined.
  Tensor domain_B = {};
  int64_t num_domains = 0;
  /// Per MoE layer: pairs per expert in the earlier micro-batches of this step. Empty in the first.
  std::vector<Tensor> counts_so_far = {};
};

/// What one MoE layer did.
struct LayerReport {
  int64_t layer = 0;
  BalanceReport balance;
  Routing routing;
};

struct ModelOutput {
  /// (B, S, V) float32 or float64.
  Tensor logits_BSV;
  /// The MoE layers in order.
  std::vector<LayerReport> layers;

  /// () sum of all balance terms of all layers, times their coefficients.
  Tensor balance_loss() const;
};

/// What every family is made for.
struct ModelShape {
  std::shared_ptr<parallel::Communicator> group = parallel::local();
  uint64_t seed = 0;
};

/// A language model. Forward changes nothing but the state handed in; safe for concurrent calls
/// with states of their own.
class LanguageModel : public torch::nn::Module {
 public:
  /// ids_BS int64. Throws moe::Error for ids outside the vocabulary and for more positions than the
  /// context length.
  virtual ModelOutput forward(const Tensor& ids_BS, const ForwardContext& context) = 0;
  /// Once after each optimizer step; one entry a MoE layer.
  virtual void end_step(const std::vector<StepStatistics>& statistics) = 0;
  /// An empty cache for `batch` rows of up to `capacity` positions.
  virtual DecoderState new_state(int64_t batch, int64_t capacity, at::ScalarType dtype) const = 0;
  virtual const ModelOptions& options() const = 0;
};

using ModelRegistry = Registry<LanguageModel, ModelShape>;

/// The built-in families of models.def and those added at run time.
ModelRegistry& families();

/// Makes `Class(const ModelShape&, const Options&)` known as `name`.
template <class Class, class Options = ModelOptions>
void register_family(const std::string& name, const std::string& help) {
  families().add(name, help, kind_of<LanguageModel, ModelShape, Class, Options>());
}

}  // namespace moe::models

/// In families/NAME.cpp: what models.def's X(NAME, "help") refers to.
#define MOE_MODEL_FAMILY(name, Class, Options)                   \
  namespace moe::models::kinds {                                 \
  ModelRegistry::Entry make_##name() {                           \
    return kind_of<LanguageModel, ModelShape, Class, Options>(); \
  }                                                              \
  }
