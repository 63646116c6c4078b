// T tokens, M rows of hidden states, D width, V vocabulary.
#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/embedding.h>

#include <moe/layers/dropout.h>
#include <moe/layers/linear.h>
#include <moe/models/architectures/encoder_decoder.h>
#include <moe/models/stack.h>
#include <moe/models/token_input.h>
#include <moe/parameters/initialise.h>

namespace moe::models {

void EncoderDecoderOptions::validate(const std::string& place) const {
  for (const auto& [key, size] :
       {std::pair{"vocabulary", vocabulary}, std::pair{"context_length", context_length},
        std::pair{"d_model", d_model}})
    check_size(size, 1, place, key);
  for (const auto& [key, blocks] :
       {std::pair{"encoder", &encoder}, std::pair{"decoder", &decoder}}) {
    check<ConfigError>(!blocks->empty(), "config", "expected '", place, '.', key,
                       "' to describe at least one block, got none. Add one.");
    for (const auto& block : *blocks)
      check<ConfigError>((block.wiring == "cross") == (blocks == &decoder), "config",
                         "expected wiring = \"cross\" ", "in every block of '", place,
                         ".decoder' and in none of the encoder's, got '", block.wiring, "' in '",
                         place, '.', key, "'. Correct it.");
  }
  layers::check_norm(norm, concat(place, ".norm"));
  check_one_of("config", concat(place, ".positions"), positions, {"none", "sinusoidal"});
  check<ConfigError>(positions == "none" || d_model >= 4, "config", "expected '", place,
                     ".d_model' of at least 4 for sinusoidal positions, got ", d_model,
                     ". Raise it.");
  for (const auto& [key, id] :
       {std::pair{"pad_id", pad_id}, std::pair{"decoder_start", decoder_start}})
    check<ConfigError>(id >= 0 && id < vocabulary, "config", "expected '", place, '.', key,
                       "' in [0, vocabulary=", vocabulary, "), got ", id, ". Correct it.");
  check<ConfigError>(dropout >= 0 && dropout < 1, "config", "expected '", place,
                     ".dropout' in [0, 1), got ", dropout, ". Correct it.");
  for (const auto& [key, value] :
       {std::pair{"norm_epsilon", norm_epsilon}, std::pair{"embedding_scale", embedding_scale},
        std::pair{"logit_scale", logit_scale}})
    check<ConfigError>(std::isfinite(value) && value >= 0, "config", "expected '", place, '.', key,
                       "' to be finite and at least 0, got ", value, ". Correct it.");
}

void EncoderDecoderOptions::resolve() {
  for (auto* blocks : {&encoder, &decoder})
    for (auto& block : *blocks) block.resolve();
}

Tensor sinusoids(const Tensor& position_T, int64_t none, int64_t width,
                 const at::TensorOptions& like) {
  const int64_t half = width / 2;
  const Tensor frequency_F = (at::arange(half, position_T.options().dtype(at::kDouble)) *
                              (-std::log(1e4) / static_cast<double>(half - 1)))
                                 .exp();
  const Tensor angle_TF = position_T.to(at::kDouble).unsqueeze(1) * frequency_F;
  Tensor out_TD = at::cat({angle_TF.sin(), angle_TF.cos()}, 1);
  if (width % 2 == 1) out_TD = at::constant_pad_nd(out_TD, {0, 1});
  out_TD.masked_fill_(position_T.eq(none).unsqueeze(1), 0);
  const bool wide = like.dtype() == at::kDouble;
  return out_TD.to(like.dtype(wide ? at::kDouble : at::kFloat).requires_grad(false));
}

Tensor positions_without_padding(const TokenList& tokens, int64_t pad_id) {
  const Tensor real_T = tokens.ids_T.ne(pad_id).to(at::kLong);
  const Tensor before_T = real_T.cumsum(0) - real_T;
  const Runs& runs = tokens.sequences.runs;
  const Tensor run_T = runs.run_T(real_T.device());
  const Tensor begin_T = runs.offsets(real_T.device()).index_select(0, run_T);
  const Tensor place_T = before_T - before_T.index_select(0, begin_T);
  const Tensor earlier_T =
      tokens.sequences.position_T(real_T.device()) - runs.place_T(real_T.device());
  return pad_id + real_T * (1 + place_T + earlier_T);
}

namespace {

constexpr const char* kPlaceOfEncoderDecoder = "models/encoder_decoder";

/// Parameters: "embedding" (V, D), "encoder.I.…" and "decoder.I.…" (see BlockImpl),
/// "encoder_norm.…", "decoder_norm.…", "head" (V, D).
class EncoderDecoder final : public Model {
 public:
  EncoderDecoder(const ModelShape& shape, const EncoderDecoderOptions& options)
      : Model(shape.tensors), options_(options) {
    const auto& o = options_;
    embedding_ = add_parameter("embedding", {o.vocabulary, o.d_model}, {.role = Role::kEmbedding});
    const auto stack = [&](const char* name, const std::vector<layers::BlockSpec>& blocks,
                           bool causal, int64_t first_layer) {
      const layers::BlockShape block = {
          .d_model = o.d_model, .causal = causal, .layout = shape.layout, .tensors = shape.tensors};
      return register_module(name, std::make_shared<Stack>(blocks, block, first_layer));
    };
    const auto norm = [&](const char* name) {
      return register_module(name, layers::Norm(o.norm, o.d_model, o.norm_epsilon, shape.tensors));
    };
    encoder_ = stack("encoder", o.encoder, /*causal=*/false, 0);
    encoder_norm_ = norm("encoder_norm");
    decoder_ = stack("decoder", o.decoder, /*causal=*/true, encoder_layers());
    decoder_norm_ = norm("decoder_norm");
    if (!o.tied_embeddings)
      head_ = add_parameter("head", {o.vocabulary, o.d_model}, {.role = Role::kHead});
  }

  ModelOutput forward(const ModelInputs& inputs, const ForwardContext& given) override {
    check(inputs.decoder.ids_T.defined(), kPlaceOfEncoderDecoder,
          "expected tokens for the encoder and for the decoder, got those of one text. Pass "
          "ModelInputs::decoder (decoder_input_ids) beside ModelInputs::tokens.");
    // A caller may ask for more positions than the model was made for: none is learned.
    const TokenLimits limits = {options_.vocabulary,
                                std::max(options_.context_length, given.context_length)};
    const TokenList read = described(inputs.tokens, limits, kPlaceOfEncoderDecoder),
                    written = described(inputs.decoder, limits, kPlaceOfEncoderDecoder);
    check(read.sequences.count() == written.sequences.count(), kPlaceOfEncoderDecoder,
          "expected as many sequences for the decoder as for the encoder, ", read.sequences.count(),
          ", got ", written.sequences.count(), ". Pair them.");
    ForwardContext context = given;
    if (context.compute == at::ScalarType::Undefined) context.compute = embedding_.scalar_type();
    context.context_length = options_.context_length;
    ModelOutput out;
    context.causal = false;
    context.state = nullptr;
    const auto memory = std::make_shared<Memory>(
        Memory{through(*encoder_, encoder_norm_, read, context, 0, out.layers), read.sequences});
    context.causal = true;
    context.state = given.state;
    context.memory = memory;
    out.hidden_TD =
        through(*decoder_, decoder_norm_, written, context, encoder_layers(), out.layers);
    return out;
  }

  Tensor head(const Tensor& hidden_MD, at::ScalarType compute) override {
    const Tensor& w_VD = head_.defined() ? head_ : embedding_;
    const auto type = compute == at::ScalarType::Undefined ? w_VD.scalar_type() : compute;
    const double scale = options_.logit_scale;
    const Tensor logits_MV =
        layers::linear(scale == 1 ? hidden_MD : hidden_MD * scale, w_VD, {}, type);
    return logits_MV.to(type == at::kDouble ? at::kDouble : at::kFloat);
  }

  void end_step(const std::vector<StepStatistics>& statistics) override {
    const int64_t encoders = encoder_->routing_blocks(),
                  all = encoders + decoder_->routing_blocks();
    check(static_cast<int64_t>(statistics.size()) == all, kPlaceOfEncoderDecoder,
          "expected statistics of ", all, " layers that route, got ", statistics.size(),
          ". Pass one entry for each layer that reports.");
    const auto middle = statistics.begin() + encoders;
    encoder_->end_step({statistics.begin(), middle});
    decoder_->end_step({middle, statistics.end()});
  }

  GenerationState new_state(int64_t capacity, at::ScalarType dtype) const override {
    return decoder_->new_state(capacity, embedding_.options().requires_grad(false).dtype(dtype));
  }

  ModelTraits traits() const override {
    return {.vocabulary = options_.vocabulary,
            .outputs = options_.vocabulary,
            .context_length = options_.context_length,
            .causal = true,
            .encoder_layers = encoder_layers(),
            .decoder_start = options_.decoder_start};
  }

  void draw(uint64_t seed) override {
    initialise(*this, options_.init, seed, static_cast<int64_t>(blocks().size()));
  }

  std::vector<std::shared_ptr<layers::BlockImpl>> blocks() const override {
    auto out = encoder_->blocks();
    out.insert(out.end(), decoder_->blocks().begin(), decoder_->blocks().end());
    return out;
  }

 private:
  int64_t encoder_layers() const { return static_cast<int64_t>(options_.encoder.size()); }

  /// Embedding, a stack and its norm; (T, D).
  Tensor through(Stack& stack, layers::Norm& norm, const TokenList& tokens,
                 const ForwardContext& context, int64_t first_layer,
                 std::vector<LayerReport>& reports) const {
    const auto dropped = [&](const Tensor& x_TD, uint32_t part) {
      return layers::dropout(x_TD, options_.dropout,
                             layer_context(context, tokens, static_cast<size_t>(first_layer)),
                             part);
    };
    // A batch that goes on from a state may bring nothing new to the encoder.
    const bool counted = options_.positions == "sinusoidal";
    Tensor x_TD = at::embedding(embedding_, tokens.ids_T, counted ? options_.pad_id : -1);
    if (&stack == encoder_.get() && x_TD.size(0) == 0) return x_TD;
    if (options_.embedding_scale != 1) x_TD = x_TD * options_.embedding_scale;
    if (counted)
      x_TD = x_TD + sinusoids(positions_without_padding(tokens, options_.pad_id), options_.pad_id,
                              options_.d_model, x_TD.options());
    x_TD = stack.forward(dropped(x_TD, 0), tokens, context, reports);
    return dropped(norm(x_TD), 7);
  }

  EncoderDecoderOptions options_;
  Tensor embedding_, head_;
  std::shared_ptr<Stack> encoder_, decoder_;
  layers::Norm encoder_norm_{nullptr}, decoder_norm_{nullptr};
};

}  // namespace

MOE_KIND(architectures, encoder_decoder, EncoderDecoder, EncoderDecoderOptions)

}  // namespace moe::models
