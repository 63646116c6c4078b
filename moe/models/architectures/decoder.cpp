// B batch, S sequence, D width, V vocabulary.
#include <algorithm>

#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>

#include <moe/layers/dropout.h>
#include <moe/layers/linear.h>
#include <moe/models/block.h>

namespace moe::models {

namespace {

/// L1: embedding, blocks, final norm, output matrix (the embedding itself when tied).
///
/// Parameters: "embedding" (V, D), "layers.I.…" (see Block), "norm.scale", "head" (V, D).
class Decoder final : public LanguageModel {
 public:
  Decoder(const ModelShape& shape, const ModelOptions& options) : options_(options) {
    const auto& o = options_;
    embedding_ = register_parameter("embedding", at::empty({o.vocabulary, o.d_model}));
    auto stack = register_module("layers", std::make_shared<Stack>());
    for (int64_t i = 0; i < o.layers; ++i)
      blocks_.push_back(stack->register_module(std::to_string(i), Block(o, i, shape)));
    if (o.norm_position == "pre")
      norm_ = register_module("norm", layers::Norm(o.norm, o.d_model, o.norm_epsilon));
    if (!o.tied_embeddings)
      head_ = register_parameter("head", at::empty({o.vocabulary, o.d_model}));
    layers::initialise(*this, o.init, shape.seed, o.layers);
  }

  ModelOutput forward(const Tensor& ids_BS, const ForwardContext& context) override {
    check_ids(ids_BS, context);
    Tensor x_BSD = at::embedding(embedding_, ids_BS);
    x_BSD = layers::dropout(x_BSD.flatten(0, 1), options_.dropout,
                            layer_context(ids_BS, context, {}, 0, 0), 0)
                .view(x_BSD.sizes());
    const Documents documents =
        context.document_BS.defined() ? documents_of(context.document_BS) : Documents();
    ModelOutput out;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      auto* cache = context.state ? &context.state->layers[i] : nullptr;
      auto [y_BSD, report] = blocks_[i]->forward(
          x_BSD, context.valid_BS, layer_context(ids_BS, context, documents, i, out.layers.size()),
          cache, context.recompute);
      x_BSD = y_BSD;
      if (report) out.layers.push_back(std::move(*report));
    }
    if (norm_) x_BSD = norm_(x_BSD);
    const Tensor logits_BSV =
        layers::linear(x_BSD, head_.defined() ? head_ : embedding_, {}, compute_type(context));
    const bool wide = logits_BSV.scalar_type() == at::kDouble;
    out.logits_BSV = logits_BSV.to(wide ? at::kDouble : at::kFloat);
    return out;
  }

  void end_step(const std::vector<StepStatistics>& statistics) override {
    const auto is_moe = [](const Block& block) { return block->is_moe(); };
    const auto expected = std::count_if(blocks_.begin(), blocks_.end(), is_moe);
    check(static_cast<size_t>(expected) == statistics.size(), "models/decoder",
          "expected statistics of ", expected, " MoE layers, got ", statistics.size(),
          ". Pass one entry for each layer that reports.");
    size_t next = 0;
    for (auto& block : blocks_)
      if (block->is_moe()) block->moe().end_step(statistics.at(next++));
  }

  DecoderState new_state(int64_t batch, int64_t capacity, at::ScalarType dtype) const override {
    const std::vector<int64_t> shape = {batch, capacity, options_.kv_head_count(),
                                        options_.head_width()};
    DecoderState state;
    for (size_t i = 0; i < blocks_.size(); ++i)
      state.layers.push_back({at::empty(shape, embedding_.options().dtype(dtype)),
                              at::empty(shape, embedding_.options().dtype(dtype)), 0});
    return state;
  }

  const ModelOptions& options() const override { return options_; }

 private:
  /// A module whose children are the numbered blocks.
  struct Stack : torch::nn::Module {};

  void check_ids(const Tensor& ids_BS, const ForwardContext& context) const {
    check(ids_BS.dim() == 2 && ids_BS.scalar_type() == at::kLong, "models/decoder",
          "expected int64 ids of shape (B, S), got ", ids_BS.scalar_type(), ' ', ids_BS.sizes(),
          ".");
    const int64_t total = ids_BS.size(1) + (context.state ? context.state->length() : 0);
    check(!context.state || context.state->layers.size() == blocks_.size(), "models/decoder",
          "expected a state of ", blocks_.size(), " layers, got ",
          context.state ? context.state->layers.size() : 0, ". Use the model's own new_state.");
    const Tensor& valid_BS = context.valid_BS;
    check(!valid_BS.defined() ||
              (valid_BS.sizes() == ids_BS.sizes() && valid_BS.scalar_type() == at::kBool),
          "models/decoder", "expected valid_BS to be Bool of shape ", ids_BS.sizes(), ", got ",
          valid_BS.defined() ? concat(valid_BS.scalar_type(), ' ', valid_BS.sizes()) : "none",
          ". Give every token one mark.");
    const Tensor& document_BS = context.document_BS;
    check(!document_BS.defined() || document_BS.sizes() == ids_BS.sizes(), "models/decoder",
          "expected document_BS of shape ", ids_BS.sizes(), ", got ",
          document_BS.defined() ? document_BS.sizes() : at::IntArrayRef(),
          ". Give every token its document's number.");
    check(!context.domain_B.defined() || context.domain_B.sizes() == ids_BS.sizes().slice(0, 1),
          "models/decoder", "expected one domain for each of ", ids_BS.size(0), " rows, got shape ",
          context.domain_B.defined() ? context.domain_B.sizes() : at::IntArrayRef(), '.');
    check(total <= options_.context_length, "models/decoder",
          "expected at most context_length=", options_.context_length, " positions, got ", total,
          ". Shorten the input.");
    if (ids_BS.numel() == 0) return;
    const int64_t low = ids_BS.min().item<int64_t>(), high = ids_BS.max().item<int64_t>();
    check(low >= 0 && high < options_.vocabulary, "models/decoder",
          "expected token ids in [0, vocabulary=", options_.vocabulary, "), got ",
          low < 0 ? low : high, ". Use the tokenizer the model was trained with.");
  }

  at::ScalarType compute_type(const ForwardContext& context) const {
    return context.compute == at::ScalarType::Undefined ? embedding_.scalar_type()
                                                        : context.compute;
  }

  RoutingContext layer_context(const Tensor& ids_BS, const ForwardContext& context,
                               const Documents& documents, size_t layer, size_t moe_layer) const {
    RoutingContext out;
    out.training = context.training;
    out.random = context.random.at_layer(static_cast<uint32_t>(layer));
    out.compute = compute_type(context);
    out.first_token = context.first_token;
    out.sequence_length = ids_BS.size(1);
    if (context.valid_BS.defined()) out.valid_T = context.valid_BS.flatten();
    out.token_ids_T = ids_BS.flatten();
    out.documents = documents;
    out.causal = options_.causal;
    out.num_domains = context.num_domains;
    if (context.domain_B.defined())
      out.domains_T = context.domain_B.to(ids_BS.device()).repeat_interleave(ids_BS.size(1));
    if (moe_layer < context.counts_so_far.size())
      out.counts_so_far_E = context.counts_so_far[moe_layer];
    return out;
  }

  ModelOptions options_;
  Tensor embedding_, head_;
  std::vector<Block> blocks_;
  layers::Norm norm_{nullptr};
};

}  // namespace

}  // namespace moe::models

MOE_MODEL_FAMILY(decoder, Decoder, ModelOptions)
