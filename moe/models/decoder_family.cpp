#include <algorithm>

#include <moe/base/error.h>
#include <moe/base/glob.h>
#include <moe/layers/feed_forwards/dense.h>
#include <moe/layers/mixers/attention.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/decoder_family.h>

namespace moe::models {

namespace {

constexpr int64_t kMostBlocks = 65536;

const std::vector<std::string> kInTrainingOnly = {"init.*",
                                                  "*dropout",
                                                  "*.dispatcher",
                                                  "*.balance*",
                                                  "*.capacity.factor",
                                                  "*.capacity.count_k",
                                                  "*.capacity.rounding",
                                                  "*.capacity.minimum",
                                                  "*.capacity.group_tokens",
                                                  "*.capacity.order",
                                                  "*.capacity.overflow",
                                                  "*.capacity.renormalise",
                                                  "*.capacity.allow_future",
                                                  "*.init.*",
                                                  "*.seed",
                                                  "*.recompute"};

/// The block with everything said that could be left to a default.
layers::BlockSpec in_full(layers::BlockSpec block, int64_t d_model) {
  if (block.mixer.kind == "attention") {
    auto attention = kind_options<Attention>(block.mixer);
    if (attention.kv_heads == 0) attention.kv_heads = attention.heads;
    if (attention.head_dim == 0) attention.head_dim = d_model / attention.heads;
    block.mixer = attention;
  }
  if (block.feed_forward.kind == "moe") {
    auto mixture = kind_options<layers::MoELayerOptions>(block.feed_forward);
    mixture.d_model = d_model;
    if (mixture.expert.d_ff == 0) mixture.expert.d_ff = 4 * d_model;
    mixture.router.resolve();
    mixture.expert.resolve();
    block.feed_forward = mixture;
  } else if (block.feed_forward.kind == "dense") {
    auto dense = kind_options<Dense>(block.feed_forward);
    if (dense.d_ff == 0) dense.d_ff = 4 * d_model;
    block.feed_forward = dense;
  }
  block.resolve();
  return block;
}

Table in_full(DecoderOptions options) {
  auto blocks = options.block_specs();
  for (auto& block : blocks) block = in_full(std::move(block), options.d_model);
  // With explicit blocks only the final norm reads these.
  UniformBlocks last_norm;
  last_norm.norm = options.uniform.norm;
  last_norm.norm_position = options.uniform.norm_position;
  last_norm.norm_epsilon = options.uniform.norm_epsilon;
  options.uniform = last_norm;
  options.blocks = std::move(blocks);
  return write_fields(options);
}

}  // namespace

std::vector<layers::BlockSpec> repeat(int64_t count, const layers::BlockSpec& block) {
  check(count <= kMostBlocks, "models/family", "expected at most ", kMostBlocks, " blocks, got ",
        count, ". Correct config.json.");
  return std::vector<layers::BlockSpec>(static_cast<size_t>(count), block);
}

std::vector<config::Difference> differences(const DecoderOptions& was, const DecoderOptions& is) {
  auto out = config::differences(in_full(was), in_full(is));
  std::erase_if(out, [](const auto& difference) {
    return std::ranges::any_of(
        kInTrainingOnly, [&](const auto& pattern) { return glob_match(pattern, difference.key); });
  });
  return out;
}

}  // namespace moe::models
