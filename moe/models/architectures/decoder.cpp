// T tokens, M rows of hidden states, D width, V vocabulary.
#include <ATen/ops/embedding.h>

#include <moe/layers/dropout.h>
#include <moe/layers/linear.h>
#include <moe/models/architectures/decoder.h>
#include <moe/models/stack.h>
#include <moe/parameters/initialise.h>

namespace moe::models {

void DecoderOptions::validate(const std::string& place) const {
  for (const auto& [key, size] :
       {std::pair{"vocabulary", vocabulary}, std::pair{"context_length", context_length},
        std::pair{"d_model", d_model}})
    check_size(size, 1, place, key);
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
/// Parameters: "embedding" (V, D), "layers.I.…" (see BlockImpl), "norm.scale", "head" (V, D).
class Decoder final : public Model {
 public:
  Decoder(const ModelShape& shape, const DecoderOptions& options)
      : Model(shape.tensors), options_(options) {
    const auto& o = options_;
    embedding_ = add_parameter("embedding", {o.vocabulary, o.d_model}, {.role = Role::kEmbedding});
    stack_ = register_module(
        "layers",
        std::make_shared<Stack>(o.block_specs(), layers::BlockShape{.d_model = o.d_model,
                                                                    .causal = o.causal,
                                                                    .group = shape.group,
                                                                    .tensors = shape.tensors}));
    if (o.uniform.norm_position == "pre")
      norm_ = register_module(
          "norm", layers::Norm(o.uniform.norm, o.d_model, o.uniform.norm_epsilon, shape.tensors));
    if (!o.tied_embeddings)
      head_ = add_parameter("head", {o.vocabulary, o.d_model}, {.role = Role::kHead});
  }

  ModelOutput forward(const ModelInputs& inputs, const ForwardContext& given) override {
    ForwardContext context = given;
    context.causal = options_.causal;
    context.context_length = options_.context_length;
    if (context.compute == at::ScalarType::Undefined) context.compute = embedding_.scalar_type();
    const TokenList tokens = described(inputs);
    Tensor x_TD = at::embedding(embedding_, tokens.ids_T);
    x_TD = layers::dropout(x_TD, options_.uniform.dropout, layer_context(context, tokens, 0), 0);
    ModelOutput out;
    x_TD = stack_->forward(x_TD, tokens, context, out.layers);
    out.hidden_TD = norm_ ? norm_(x_TD) : x_TD;
    return out;
  }

  Tensor head(const Tensor& hidden_MD, at::ScalarType compute) override {
    const Tensor& w_VD = head_.defined() ? head_ : embedding_;
    const auto type = compute == at::ScalarType::Undefined ? w_VD.scalar_type() : compute;
    const Tensor logits_MV = layers::linear(hidden_MD, w_VD, {}, type);
    return logits_MV.to(type == at::kDouble ? at::kDouble : at::kFloat);
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
  /// The tokens with a description of every one: without a sequence they are all one.
  TokenList described(const ModelInputs& inputs) const {
    constexpr const char* kPlace = "models/decoder";
    TokenList tokens = inputs.tokens;
    const Tensor& ids_T = tokens.ids_T;
    check(ids_T.defined() && ids_T.dim() == 1 && ids_T.scalar_type() == at::kLong, kPlace,
          "expected int64 ids of shape (T,), got ",
          ids_T.defined() ? concat(ids_T.scalar_type(), ' ', ids_T.sizes()) : "none",
          ". Pass the tokens as a list; flow/packing.h makes one of rows.");
    if (tokens.sequences.count() == 0) tokens.sequences = Sequences::equal(1, ids_T.size(0));
    const auto& sequences = tokens.sequences;
    check(sequences.tokens() == ids_T.size(0), kPlace, "expected sequences of ", ids_T.size(0),
          " tokens in all, got ", sequences.tokens(),
          ". Describe exactly the ids that are passed.");
    check(!tokens.domains_T.defined() || tokens.domains_T.sizes() == ids_T.sizes(), kPlace,
          "expected one domain for each of ", ids_T.size(0), " tokens, got shape ",
          tokens.domains_T.defined() ? tokens.domains_T.sizes() : at::IntArrayRef(), '.');
    const int64_t positions = sequences.end_position();
    check(positions <= options_.context_length, kPlace,
          "expected at most context_length=", options_.context_length, " positions, got ",
          positions, ". Shorten the input.");
    if (ids_T.numel() == 0) return tokens;
    const int64_t low = ids_T.min().item<int64_t>(), high = ids_T.max().item<int64_t>();
    check(low >= 0 && high < options_.vocabulary, kPlace,
          "expected token ids in [0, vocabulary=", options_.vocabulary, "), got ",
          low < 0 ? low : high, ". Use the tokenizer the model was trained with.");
    return tokens;
  }

  DecoderOptions options_;
  Tensor embedding_, head_;
  std::shared_ptr<Stack> stack_;
  layers::Norm norm_{nullptr};
};

}  // namespace

MOE_KIND(architectures, decoder, Decoder, DecoderOptions)

}  // namespace moe::models
