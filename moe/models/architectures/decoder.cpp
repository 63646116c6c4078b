// T tokens, M rows of hidden states, D width, V vocabulary.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>

#include <moe/layers/dropout.h>
#include <moe/layers/linear.h>
#include <moe/models/architectures/decoder.h>
#include <moe/models/stack.h>
#include <moe/models/token_input.h>
#include <moe/ops/pointwise.h>
#include <moe/parameters/initialise.h>

namespace moe::models {

void DecoderOptions::validate(const std::string& place) const {
  for (const auto& [key, size] :
       {std::pair{"vocabulary", vocabulary}, std::pair{"context_length", context_length},
        std::pair{"d_model", d_model}})
    check_size(size, 1, place, key);
  for (const auto& [key, scale] :
       {std::pair{"embedding_scale", embedding_scale}, std::pair{"logit_scale", logit_scale}})
    check<ConfigError>(std::isfinite(scale), "config", "expected '", place, '.', key,
                       "' to be finite, got ", scale, ". Correct it.");
  check<ConfigError>(std::isfinite(logit_softcap) && logit_softcap >= 0, "config", "expected '",
                     place, ".logit_softcap' to be finite and at least 0, got ", logit_softcap,
                     ". Correct it.");
  if (blocks.empty())
    uniform.validate(place, d_model);
  else
    uniform.validate_beside(blocks, DecoderOptions().uniform, place, d_model);
}

void DecoderOptions::resolve() {
  if (blocks.empty()) uniform.resolve(d_model);
  for (auto& block : blocks) block.resolve();
}

namespace {

/// Embedding, blocks, final norm, output matrix (the embedding itself when tied).
///
/// Parameters: "embedding" (V, D), "positions" (C, D) if learned, "layers.I.…" (see BlockImpl),
/// "norm.…" unless norm_position is "post", "head" (V, D) and "head_bias" (V) if asked for.
class Decoder final : public Model {
 public:
  Decoder(const ModelShape& shape, const DecoderOptions& options)
      : Model(shape.tensors), options_(options) {
    const auto& o = options_;
    embedding_ = add_parameter("embedding", {o.vocabulary, o.d_model}, {.role = Role::kEmbedding});
    if (o.learned_positions)
      positions_ =
          add_parameter("positions", {o.context_length, o.d_model}, {.role = Role::kEmbedding});
    stack_ = register_module(
        "layers",
        std::make_shared<Stack>(o.block_specs(), layers::BlockShape{.d_model = o.d_model,
                                                                    .causal = o.causal,
                                                                    .layout = shape.layout,
                                                                    .tensors = shape.tensors}));
    if (o.uniform.norm_position != "post")
      norm_ = register_module(
          "norm", layers::Norm(o.uniform.norm, o.d_model, o.uniform.norm_epsilon, shape.tensors));
    if (!o.tied_embeddings)
      head_ = add_parameter("head", {o.vocabulary, o.d_model}, {.role = Role::kHead});
    if (o.head_bias) head_bias_ = add_parameter("head_bias", {o.vocabulary}, {.role = Role::kBias});
  }

  ModelOutput forward(const ModelInputs& inputs, const ForwardContext& given) override {
    ForwardContext context = given;
    context.causal = options_.causal;
    context.context_length = options_.context_length;
    if (context.compute == at::ScalarType::Undefined) context.compute = embedding_.scalar_type();
    // A caller may ask for more positions than the model was made for, where they are computed.
    const int64_t positions = positions_.defined()
                                  ? options_.context_length
                                  : std::max(options_.context_length, given.context_length);
    const TokenList tokens =
        described(inputs.tokens, {options_.vocabulary, positions}, "models/decoder");
    Tensor x_TD = embedded(tokens);
    x_TD = layers::dropout(x_TD, options_.uniform.dropout, layer_context(context, tokens, 0), 0);
    ModelOutput out;
    x_TD = stack_->forward(x_TD, tokens, context, out.layers);
    out.hidden_TD = norm_ ? norm_(x_TD) : x_TD;
    return out;
  }

  Tensor head(const Tensor& hidden_MD, at::ScalarType compute) override {
    const Tensor& w_VD = head_.defined() ? head_ : embedding_;
    const auto type = compute == at::ScalarType::Undefined ? w_VD.scalar_type() : compute;
    const double cap = options_.logit_softcap;
    // Factors go into the narrow side of the product: losses make no further (T, V) numbers.
    const double factor = cap > 0 ? options_.logit_scale / cap : options_.logit_scale;
    const auto scaled = [&](const Tensor& x) {
      return factor == 1 || !x.defined() ? x : x * factor;
    };
    Tensor logits_MV = layers::linear(scaled(hidden_MD), w_VD, scaled(head_bias_), type);
    logits_MV = logits_MV.to(type == at::kDouble ? at::kDouble : at::kFloat);
    return cap > 0 ? ops::tanh(logits_MV) * cap : logits_MV;
  }

  void end_step(const std::vector<StepStatistics>& statistics) override {
    stack_->end_step(statistics);
  }

  GenerationState new_state(int64_t capacity, at::ScalarType dtype) const override {
    check(options_.causal, "models/decoder",
          "expected a causal model to go on from a state, got one whose positions see what comes "
          "after "
          "them. Train with model.causal = true.");
    return stack_->new_state(capacity, embedding_.options().requires_grad(false).dtype(dtype));
  }

  ModelTraits traits() const override {
    return {.vocabulary = options_.vocabulary,
            .outputs = options_.vocabulary,
            .context_length = options_.context_length,
            .causal = options_.causal};
  }

  void draw(uint64_t seed) override {
    initialise(*this, options_.init, seed, static_cast<int64_t>(stack_->blocks().size()));
  }

  std::vector<std::shared_ptr<layers::BlockImpl>> blocks() const override {
    return stack_->blocks();
  }

 private:
  /// (T, D) what the first block reads.
  Tensor embedded(const TokenList& tokens) const {
    Tensor x_TD = at::embedding(embedding_, tokens.ids_T);
    if (options_.embedding_scale != 1) x_TD = x_TD * options_.embedding_scale;
    if (positions_.defined())
      x_TD = x_TD + at::embedding(positions_, tokens.sequences.position_T(x_TD.device()));
    return x_TD;
  }

  DecoderOptions options_;
  Tensor embedding_, positions_, head_, head_bias_;
  std::shared_ptr<Stack> stack_;
  layers::Norm norm_{nullptr};
};

}  // namespace

MOE_KIND(architectures, decoder, Decoder, DecoderOptions)

}  // namespace moe::models
