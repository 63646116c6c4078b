#pragma once
// T tokens, D width, V vocabulary or classes, N sequences, E experts.

#include <memory>
#include <vector>

#include <moe/base/registry.h>
#include <moe/flow/inputs.h>
#include <moe/flow/output.h>
#include <moe/layers/block.h>
#include <moe/models/forward_context.h>
#include <moe/parallel/layout.h>
#include <moe/parameters/module.h>

namespace moe::models {

struct ModelOutput {
  /// (T, D) what the head reads: for text a row a token, for images a row an image.
  Tensor hidden_TD;
  /// The layers that route, in order.
  std::vector<LayerReport> layers;

  /// () sum of all balance terms of all layers, times their coefficients.
  Tensor balance_loss() const;
};

/// What a caller must know of a model, whatever its architecture.
struct ModelTraits {
  /// Ids a text model reads; 0 for images.
  int64_t vocabulary = 0;
  /// Outputs of the head: V, or classes.
  int64_t outputs = 0;
  int64_t context_length = 0;
  bool causal = false;
  /// Of encoder-decoders: how many of its layers, the first ones, read ModelInputs::tokens (the
  /// others read ModelInputs::decoder), and the id that the decoder starts from; -1: no
  /// encoder-decoder.
  int64_t encoder_layers = 0, decoder_start = -1;
  /// Shape of one image, for models of images.
  int64_t channels = 0, height = 0, width = 0;
};

/// What every architecture is made for.
struct ModelShape {
  parallel::Layout layout = {};
  /// Of parameters: unfilled, unless a caller wants them otherwise.
  at::TensorOptions tensors = at::TensorOptions(at::kMeta);
};

/// A model: an architecture filled with blocks. Forward changes nothing but the state handed in;
/// safe for concurrent calls with states of their own.
class Model : public Module {
 public:
  using Module::Module;

  /// Everything up to the head. Throws moe::Error for ids outside the vocabulary, positions beyond
  /// the context length, and inputs of another kind.
  virtual ModelOutput forward(const ModelInputs& inputs, const ForwardContext& context) = 0;
  /// hidden (M, D), any rows of forward's -> (M, V) in `compute` (Undefined: the parameters' type).
  /// Apart from forward, because losses take it in chunks and generation asks for the last position
  /// only.
  virtual Tensor head(const Tensor& hidden_MD,
                      at::ScalarType compute = at::ScalarType::Undefined) = 0;
  /// Once after each optimizer step; one entry for each layer that routes.
  virtual void end_step(const std::vector<StepStatistics>& statistics) = 0;
  /// An empty state for sequences of up to `capacity` positions. Throws moe::Error where the model
  /// cannot go on from one.
  virtual GenerationState new_state(int64_t capacity, at::ScalarType dtype) const = 0;
  virtual ModelTraits traits() const = 0;
  /// How its parameters start: draws them from `seed` by full name. To be called once they have
  /// memory.
  virtual void draw(uint64_t seed) = 0;
  /// Its blocks in order: counts and the dense twin walk them.
  virtual std::vector<std::shared_ptr<layers::BlockImpl>> blocks() const = 0;

  at::Device device() const;
  at::ScalarType dtype() const;
};

using ArchitectureRegistry = Registry<Model, ModelShape>;

/// The built-in kinds of architectures.def and those added at run time.
ArchitectureRegistry& architectures();

/// A model by its architecture; the other keys are that architecture's options.
struct ModelSpec {
  std::string architecture = "decoder";
  Table options = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("architecture", architecture,
      "a registered architecture (`moe inspect --list architecture`); further keys are its "
      "options");
    v.rest(options);
  }
  void find_unknown(UnknownKeys& unknown) const;
  void validate(const std::string& place) const;
  /// Fills in the defaults of the architecture's options.
  void resolve();
};

/// The spec of an architecture with options: what their public structs convert to.
template <class Options>
ModelSpec spec_of_model(const std::string& architecture, const Options& options) {
  return {architecture, write_fields(options)};
}

/// The model that a `[model]` table describes, unfilled.
std::shared_ptr<Model> make_model(const ModelSpec& spec, const ModelShape& shape = {});
/// The same with memory on `device` and numbers drawn from `seed`.
std::shared_ptr<Model> make_model(const ModelSpec& spec, uint64_t seed,
                                  const ModelShape& shape = {}, at::Device device = at::kCPU,
                                  at::ScalarType dtype = at::kFloat);

}  // namespace moe::models
