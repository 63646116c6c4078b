// N images, C channels, H height, W width, S tokens of an image, I numbers of a patch, D width, M
// rows of hidden states.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tanh.h>

#include <moe/layers/dropout.h>
#include <moe/layers/linear.h>
#include <moe/models/architectures/vision.h>
#include <moe/models/stack.h>
#include <moe/ops/random_fill.h>
#include <moe/parameters/initialise.h>

namespace moe::models {

void VisionOptions::validate(const std::string& place) const {
  for (const auto& [key, size] :
       {std::pair{"channels", channels}, std::pair{"height", height}, std::pair{"width", width},
        std::pair{"patch", patch}, std::pair{"classes", classes}, std::pair{"d_model", d_model}})
    check_size(size, 1, place, key);
  for (const auto& [key, size] : {std::pair{"height", height}, std::pair{"width", width}})
    check<ConfigError>(size % patch == 0, "config", "expected '", place, '.', key,
                       "' to be a multiple of patch=", patch, ", got ", size,
                       ". Change one of them.");
  check_one_of("config", concat(place, ".pooling"), pooling, {"mean", "class_token"});
  if (blocks.empty())
    uniform.validate(place, d_model);
  else
    uniform.validate_beside(blocks, VisionOptions().uniform, place, d_model);
}

void VisionOptions::resolve() {
  if (blocks.empty()) uniform.resolve(d_model);
  for (auto& block : blocks) block.resolve();
}

Tensor patches_of(const Tensor& pixels_NCHW, int64_t patch) {
  const int64_t N = pixels_NCHW.size(0), C = pixels_NCHW.size(1);
  const int64_t rows = pixels_NCHW.size(2) / patch, columns = pixels_NCHW.size(3) / patch;
  return pixels_NCHW.reshape({N, C, rows, patch, columns, patch})
      .permute({0, 2, 4, 1, 3, 5})
      .reshape({N * rows * columns, C * patch * patch});
}

namespace {

constexpr const char* kPlaceOfVision = "models/vision";

/// How positions and the class token start, as in the paper.
void start_small(Tensor values, const RandomStream& stream) {
  ops::fill_normal_(values, stream, 0.02);
}

/// Patches as one product, positions, blocks, final norm, pooling, an optional last layer, head.
///
/// Parameters: "patches" (D, I) with "patches_bias", "positions" (S, D), "class_token" (1, D),
/// "layers.I.…" (see BlockImpl), "norm.scale", "pre_logits" (D, D) with "pre_logits_bias", "head"
/// (classes, D) with "head_bias".
class Vision final : public Model {
 public:
  Vision(const ModelShape& shape, const VisionOptions& options)
      : Model(shape.tensors), options_(options) {
    const auto& o = options_;
    const int64_t D = o.d_model;
    patches_ =
        add_parameter("patches", {D, o.channels * o.patch * o.patch}, {.role = Role::kMatrix});
    patches_bias_ = add_parameter("patches_bias", {D}, {.role = Role::kBias});
    const ParameterInfo learned = {.role = Role::kEmbedding, .start = start_small};
    positions_ = add_parameter("positions", {o.tokens(), D}, learned);
    if (o.pooling == "class_token") class_token_ = add_parameter("class_token", {1, D}, learned);
    stack_ = register_module(
        "layers",
        std::make_shared<Stack>(
            o.block_specs(),
            layers::BlockShape{
                .d_model = D, .causal = false, .layout = shape.layout, .tensors = shape.tensors}));
    if (o.uniform.norm_position != "post")
      norm_ = register_module(
          "norm", layers::Norm(o.uniform.norm, D, o.uniform.norm_epsilon, shape.tensors));
    if (o.pre_logits) {
      pre_logits_ = add_parameter("pre_logits", {D, D}, {.role = Role::kMatrix});
      pre_logits_bias_ = add_parameter("pre_logits_bias", {D}, {.role = Role::kBias});
    }
    head_ = add_parameter("head", {o.classes, D}, {.role = Role::kHead});
    head_bias_ = add_parameter("head_bias", {o.classes}, {.role = Role::kBias});
  }

  ModelOutput forward(const ModelInputs& inputs, const ForwardContext& given) override {
    ForwardContext context = given;
    context.causal = false;
    if (context.compute == at::ScalarType::Undefined) context.compute = positions_.scalar_type();
    check_inputs(inputs);
    check(!context.state, kPlaceOfVision,
          "expected no state of generation, got one. Images are seen at once.");
    const TokenList tokens = tokens_of(inputs);
    Tensor x_TD = embed(inputs.pixels_NCHW.to(positions_.scalar_type()), context.compute);
    x_TD = layers::dropout(x_TD, options_.uniform.dropout, layer_context(context, tokens, 0), 0);
    ModelOutput out;
    x_TD = stack_->forward(x_TD, tokens, context, out.layers);
    if (norm_) x_TD = norm_(x_TD);
    const Tensor x_NSD =
        x_TD.view({inputs.pixels_NCHW.size(0), options_.tokens(), options_.d_model});
    const Tensor pooled_ND = class_token_.defined() ? x_NSD.select(1, 0) : x_NSD.mean(1);
    out.hidden_TD =
        pre_logits_.defined()
            ? at::tanh(layers::linear(pooled_ND, pre_logits_, pre_logits_bias_, context.compute))
                  .to(pooled_ND.scalar_type())
            : pooled_ND;
    return out;
  }

  Tensor head(const Tensor& hidden_MD, at::ScalarType compute) override {
    const auto type = compute == at::ScalarType::Undefined ? head_.scalar_type() : compute;
    return layers::linear(hidden_MD, head_, head_bias_, type)
        .to(type == at::kDouble ? at::kDouble : at::kFloat);
  }

  void end_step(const std::vector<StepStatistics>& statistics) override {
    stack_->end_step(statistics);
  }

  GenerationState new_state(int64_t, at::ScalarType) const override {
    fail(kPlaceOfVision,
         "expected a model of text to go on from a state, got one of images. Call forward alone.");
  }

  ModelTraits traits() const override {
    return {.outputs = options_.classes,
            .context_length = options_.tokens(),
            .channels = options_.channels,
            .height = options_.height,
            .width = options_.width};
  }

  void draw(uint64_t seed) override {
    initialise(*this, options_.init, seed, static_cast<int64_t>(stack_->blocks().size()));
  }

  std::vector<std::shared_ptr<layers::BlockImpl>> blocks() const override {
    return stack_->blocks();
  }

 private:
  void check_inputs(const ModelInputs& inputs) const {
    const Tensor& pixels = inputs.pixels_NCHW;
    const auto& o = options_;
    check(pixels.defined(), kPlaceOfVision, "expected images of shape (N, C=", o.channels,
          ", H=", o.height, ", W=", o.width, "), got none. A model of images reads pixels_NCHW.");
    check(pixels.is_floating_point() && pixels.dim() == 4 && pixels.size(1) == o.channels &&
              pixels.size(2) == o.height && pixels.size(3) == o.width,
          kPlaceOfVision, "expected floating images of shape (N, C=", o.channels, ", H=", o.height,
          ", W=", o.width, "), got ", pixels.scalar_type(), ' ', pixels.sizes(),
          ". Use images of the shape the model was made for.");
    const Tensor& domains = inputs.tokens.domains_T;
    check(!domains.defined() || (domains.dim() == 1 && domains.size(0) == pixels.size(0)),
          kPlaceOfVision, "expected one domain for each of ", pixels.size(0), " images, got shape ",
          domains.defined() ? domains.sizes() : at::IntArrayRef(), ". Correct domains_T.");
  }

  /// The tokens of the images: each image is a sequence, numbered on from its own global number.
  TokenList tokens_of(const ModelInputs& inputs) const {
    const int64_t N = inputs.pixels_NCHW.size(0), S = options_.tokens();
    TokenList out{.sequences = Sequences::equal(N, S),
                  .first_token = inputs.tokens.first_token * S,
                  .num_domains = inputs.tokens.num_domains};
    if (const Tensor& domain_N = inputs.tokens.domains_T; domain_N.defined())
      out.domains_T = domain_N.unsqueeze(1).expand({N, S}).reshape({N * S});
    return out;
  }

  Tensor embed(const Tensor& pixels_NCHW, at::ScalarType compute) const {
    const int64_t N = pixels_NCHW.size(0), D = options_.d_model;
    const int64_t patches_of_image = options_.tokens() - (class_token_.defined() ? 1 : 0);
    const Tensor patches_PI = patches_of(pixels_NCHW, options_.patch);
    Tensor x_NSD = layers::linear(patches_PI, patches_, patches_bias_, compute)
                       .to(positions_.scalar_type())
                       .view({N, patches_of_image, D});
    if (class_token_.defined()) x_NSD = at::cat({class_token_.expand({N, 1, D}), x_NSD}, 1);
    return (x_NSD + positions_).view({N * options_.tokens(), D});
  }

  VisionOptions options_;
  Tensor patches_, patches_bias_, positions_, class_token_, pre_logits_, pre_logits_bias_, head_,
      head_bias_;
  std::shared_ptr<Stack> stack_;
  layers::Norm norm_{nullptr};
};

}  // namespace

MOE_KIND(architectures, vision, Vision, VisionOptions)

}  // namespace moe::models
