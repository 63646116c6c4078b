#include <algorithm>

#include <moe/base/error.h>
#include <moe/models/hybrid_family.h>

namespace moe::models {

std::vector<bool> full_attention_layers(const HfConfig& c, const std::vector<std::string>& others,
                                        const std::function<bool(int64_t)>& is_full,
                                        const char* full) {
  const int64_t layers = c.size("num_hidden_layers");
  std::vector<std::string> known = {full};
  known.insert(known.end(), others.begin(), others.end());
  std::vector<bool> out;
  for (const auto& kind : c.texts("layer_types", layers, known)) out.push_back(kind == full);
  if (out.empty())
    for (int64_t i = 0; i < layers; ++i) out.push_back(is_full(i));
  return out;
}

NameMap hybrid_names(const DecoderOptions& options, const std::vector<std::string>& mixers,
                     const std::string& before, const std::string& behind,
                     const std::string& last) {
  const std::string theirs = "model.layers.{i}.", ours = "layers.{i}.";
  NameMap out = {same("model.embed_tokens.weight", "embedding"),
                 same(theirs + behind + ".weight", ours + "ffn_norm.scale"),
                 same("model." + last + ".weight", "norm.scale"),
                 ignored("model.layers.*.self_attn.rotary_emb.inv_freq"),
                 ignored("model.rotary_emb.inv_freq")};
  for (const auto& mixer : mixers)
    out.add(same(theirs + before + ".weight", ours + mixer + "_norm.scale"));
  out.add(options.tied_embeddings ? tied("lm_head.weight", "embedding")
                                  : same("lm_head.weight", "head"));
  return out;
}

void add_attention(NameMap& map, const std::string& output) {
  const std::string theirs = "model.layers.{i}.self_attn.", ours = "layers.{i}.attention.";
  const auto add = [&](const std::string& name, const std::string& letter) {
    map.add(same(theirs + name + ".weight", ours + "w_" + letter));
    map.add(same(theirs + name + ".bias", ours + "b_" + letter));
  };
  for (const std::string letter : {"q", "k", "v"}) add(letter + "_proj", letter);
  add(output, "o");
}

void add_convolution(NameMap& map, const std::string& theirs, const std::string& ours,
                     const std::string& our_bias) {
  map.add(arranged(same(theirs + ".weight", ours), with_ones({1})));
  if (!our_bias.empty()) map.add(same(theirs + ".bias", our_bias));
}

std::vector<layers::BlockSpec> blocks_of(const std::vector<layers::BlockSpec>& blocks,
                                         const std::string& kind) {
  std::vector<layers::BlockSpec> out;
  for (const auto& block : blocks)
    if (block.mixer.kind == kind) out.push_back(block);
  return out;
}

Table hybrid_config(const DecoderOptions& o, const char* architecture, const char* model_type,
                    const char* epsilon) {
  const auto blocks = o.block_specs();
  const auto attention = first_mixer<Attention>(o);
  Table out =
      table_of({{"architectures", Array{architecture}},
                {"model_type", model_type},
                {"vocab_size", o.vocabulary},
                {"hidden_size", o.d_model},
                {"num_hidden_layers", static_cast<int64_t>(blocks.size())},
                {"num_attention_heads", attention.heads},
                {"num_key_value_heads", attention.kv_heads},
                {"head_dim", attention.head_dim},
                {epsilon, blocks.front().norm_epsilon},
                {"max_position_embeddings", positions_in_config(attention.rope, o.context_length)},
                {"tie_word_embeddings", o.tied_embeddings}});
  const bool turns = !blocks_of(blocks, "attention").empty() && attention.rope.kind != "none";
  if (turns) write_rope(out, attention.rope);
  return out;
}

Array layer_kinds(const std::vector<layers::BlockSpec>& blocks, const char* full, const char* other,
                  const std::string& attention) {
  Array out;
  for (const auto& block : blocks)
    out.push_back(block.mixer.kind == attention ? Value(full) : Value(other));
  return out;
}

}  // namespace moe::models
