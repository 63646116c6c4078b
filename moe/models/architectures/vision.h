#pragma once
// N images, C channels, H height, W width, S patches of an image, I numbers of a patch.

#include <moe/models/model.h>
#include <moe/models/uniform_blocks.h>

namespace moe::models {

/// A classifier of images (ViT, Dosovitskiy et al. 2021): patches, learned positions, bidirectional
/// blocks, and a head on one hidden state an image.
struct VisionOptions {
  int64_t channels = 1;
  int64_t height = 28;
  int64_t width = 28;
  int64_t patch = 7;
  int64_t classes = 10;
  std::string pooling = "mean";
  bool pre_logits = false;
  int64_t d_model = 64;
  /// Equal blocks; its keys stand in the model's own table. Positions are learned, so nothing
  /// turns.
  UniformBlocks uniform = {.rope = "none"};
  /// Instead of those: one spec a block.
  std::vector<layers::BlockSpec> blocks = {};
  InitOptions init = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("channels", channels, "of an image: 1 for grey");
    v("height", height, "pixels");
    v("width", width, "pixels");
    v("patch", patch, "height and width of a patch; both divide those of the image");
    v("classes", classes, "outputs of the head");
    v("pooling", pooling,
      "what the head reads: mean (of all patches) or class_token (a token of its own before them)");
    v("pre_logits", pre_logits,
      "a layer tanh(W x + b) between the pooled state and the head, as in pre-training");
    v("d_model", d_model, "width, D");
    uniform.fields(v);
    v("blocks", blocks,
      "one table a block (mixer, feed_forward, norm …), where blocks differ: instead of layers, "
      "heads, … "
      "and moe; norms and dropout outside the blocks stay those of the model");
    v("init", init, "how parameters start");
  }
  void validate(const std::string& place) const;
  /// Fills in the defaults of the chosen kinds.
  void resolve();

  std::vector<layers::BlockSpec> block_specs() const {
    return blocks.empty() ? uniform.specs(d_model) : blocks;
  }
  /// Tokens of one image.
  int64_t tokens() const {
    return (height / patch) * (width / patch) + (pooling == "class_token" ? 1 : 0);
  }

  operator ModelSpec() const { return spec_of_model("vision", *this); }
};

/// The patches of each image, row by row, (N·S, I): the pixels of a patch by channel, row and
/// column. Differentiable.
Tensor patches_of(const Tensor& pixels_NCHW, int64_t patch);

}  // namespace moe::models
