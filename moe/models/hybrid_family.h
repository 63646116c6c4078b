#pragma once
// What families whose layers mix tokens in several ways say in the same words.

#include <functional>
#include <string>
#include <vector>

#include <moe/models/moe_family.h>

namespace moe::models {

inline constexpr const char* kLinearAttention = "linear_attention";

/// Whether each layer is of full attention, from layer_types, whose other kinds are `others`; where
/// the list is absent, is_full(i). Throws moe::Error for a list of another length or other kinds.
std::vector<bool> full_attention_layers(const HfConfig& c, const std::vector<std::string>& others,
                                        const std::function<bool(int64_t)>& is_full,
                                        const char* full = kFullAttention);

/// The names of norms around mixers: theirs + `before` and theirs + `behind` in every layer,
/// whatever of `mixers` it has; embedding and head; the last norm is `last`.
NameMap hybrid_names(const DecoderOptions& options, const std::vector<std::string>& mixers,
                     const std::string& before, const std::string& behind, const std::string& last);
/// theirs + {q,k,v,`output`}_proj, weights and biases, of layers of attention.
void add_attention(NameMap& map, const std::string& output = "o_proj");
/// A convolution's (C, 1, W) and its bias.
void add_convolution(NameMap& map, const std::string& theirs, const std::string& ours,
                     const std::string& our_bias);

/// The blocks whose mixer is of `kind`.
std::vector<layers::BlockSpec> blocks_of(const std::vector<layers::BlockSpec>& blocks,
                                         const std::string& kind);
/// The options of the first mixer of this kind, with nothing left to defaults; those of a default
/// one where there is none.
template <class Options>
Options first_mixer(const DecoderOptions& options) {
  layers::BlockSpec block;
  block.mixer = Options();
  const auto found = blocks_of(options.block_specs(), block.mixer.kind);
  if (!found.empty()) block.mixer = found.front().mixer;
  return kind_options<Options>(in_full(block, options.d_model).mixer);
}

/// config.json: widths, the norm's `epsilon`, and the keys of attention and positions from the
/// first block that has attention.
Table hybrid_config(const DecoderOptions& options, const char* architecture, const char* model_type,
                    const char* epsilon = "rms_norm_eps");
/// layer_types: `full` for attention of the kind `attention`, else `other`.
Array layer_kinds(const std::vector<layers::BlockSpec>& blocks, const char* full, const char* other,
                  const std::string& attention = "attention");

}  // namespace moe::models
