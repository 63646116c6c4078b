#include <algorithm>
#include <cmath>

#include <moe/base/glob.h>
#include <moe/models/decoder_family.h>
#include <moe/models/encoder_decoder_family.h>

namespace moe::models {

namespace {

const std::vector<std::string> kNotEvaluated = {"init.*",     "*dropout",          "*.dispatcher",
                                                "*.balance*", "*.capacity.factor", "*.init.*",
                                                "*.seed",     "*.recompute",       "*.jitter"};

/// Capacity says nothing where evaluation has no limit.
layers::BlockSpec evaluated(layers::BlockSpec block, int64_t d_model) {
  block = in_full(std::move(block), d_model);
  auto& cross = block.cross;
  if (cross.heads > 0 && cross.head_dim == 0) cross.head_dim = d_model / cross.heads;
  if (cross.heads > 0 && cross.scale == 0)
    cross.scale = 1 / std::sqrt(static_cast<double>(cross.head_dim));
  if (block.feed_forward.kind != "moe") return block;
  auto mixture = kind_options<layers::MoELayerOptions>(block.feed_forward);
  if (!mixture.capacity.limits(/*training=*/false)) mixture.capacity = {};
  block.feed_forward = mixture;
  return block;
}

Table evaluated(EncoderDecoderOptions options) {
  for (auto* blocks : {&options.encoder, &options.decoder})
    for (auto& block : *blocks) block = evaluated(std::move(block), options.d_model);
  return write_fields(options);
}

}  // namespace

std::vector<config::Difference> differences(const EncoderDecoderOptions& was,
                                            const EncoderDecoderOptions& is) {
  auto out = config::differences(evaluated(was), evaluated(is));
  std::erase_if(out, [](const auto& difference) {
    return std::ranges::any_of(
        kNotEvaluated, [&](const auto& pattern) { return glob_match(pattern, difference.key); });
  });
  return out;
}

void ignore_generation_keys(const HfConfig& c) {
  c.ignore({"add_cross_attention", "output_past"});
  c.only("is_encoder_decoder", {true}, "one of its stacks alone");
  c.only("tie_encoder_decoder", {false}, "stacks that share their parameters");
}

const layers::BlockSpec* first_with(const EncoderDecoderOptions& options,
                                    const std::string& feed_forward) {
  for (const auto* blocks : {&options.encoder, &options.decoder})
    for (const auto& block : *blocks)
      if (block.feed_forward.kind == feed_forward) return &block;
  return nullptr;
}

std::vector<int64_t> routing_of(const std::vector<layers::BlockSpec>& blocks) {
  std::vector<int64_t> out;
  for (size_t i = 0; i < blocks.size(); ++i)
    if (blocks[i].feed_forward.kind == "moe") out.push_back(static_cast<int64_t>(i));
  return out;
}

double coefficient_of(const std::vector<BalanceSpec>& balance, const std::string& kind) {
  for (const auto& term : balance)
    if (term.kind == kind) return term.coefficient;
  return 0;
}

void add_ends(NameMap& map, const EncoderDecoderOptions& options, const std::string& table,
              const std::vector<std::string>& also) {
  map.add(same(table, "embedding"));
  for (const auto& name : also) map.add(tied(name, "embedding"));
  map.add(options.tied_embeddings ? tied("lm_head.weight", "embedding")
                                  : same("lm_head.weight", "head"));
}

}  // namespace moe::models
