#pragma once

#include <moe/models/model.h>
#include <moe/models/uniform_blocks.h>

namespace moe::models {

/// A model of two stacks (Vaswani et al. 2017; T5, NLLB): an encoder whose tokens all see each
/// other, and a causal decoder of another text whose blocks attend to what the encoder made. Both
/// look their ids up in one table.
struct EncoderDecoderOptions {
  int64_t vocabulary = 256;
  int64_t context_length = 512;
  int64_t d_model = 128;
  std::vector<layers::BlockSpec> encoder = {};
  std::vector<layers::BlockSpec> decoder = {};
  std::string norm = "rmsnorm";
  double norm_epsilon = 1e-6;
  std::string positions = "none";
  int64_t pad_id = 0;
  double embedding_scale = 1;
  bool tied_embeddings = true;
  double logit_scale = 1;
  int64_t decoder_start = 0;
  double dropout = 0;
  InitOptions init = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("vocabulary", vocabulary, "token ids, V");
    v("context_length", context_length, "longest sequence, of the encoder and of the decoder");
    v("d_model", d_model, "width, D");
    v("encoder", encoder, "one table a block of the encoder (mixer, feed_forward, norm …)");
    v("decoder", decoder,
      "one table a block of the decoder: wiring = \"cross\", with the table `cross` of its cross "
      "attention");
    v("norm", norm, "of the norm behind each stack");
    v("norm_epsilon", norm_epsilon, "of that norm");
    v("positions", positions,
      "added to the embeddings: none, or fixed sinusoidal ones; relative positions are their "
      "mixers' own");
    v("pad_id", pad_id,
      "sinusoidal: the id that takes no position, gets no sines, and whose embedding learns "
      "nothing "
      "from where it is read; positions count from pad_id + 1 on (fairseq)");
    v("embedding_scale", embedding_scale, "embeddings are multiplied by it, before positions");
    v("tied_embeddings", tied_embeddings, "use the embedding as output matrix");
    v("logit_scale", logit_scale, "the head's input is multiplied by it (T5, tied: 1 / sqrt(D))");
    v("decoder_start", decoder_start, "the id that generation starts the decoder from");
    v("dropout", dropout, "on the embeddings and behind each stack");
    v("init", init, "how parameters start");
  }
  void validate(const std::string& place) const;
  /// Fills in the defaults of the chosen kinds.
  void resolve();

  operator ModelSpec() const { return spec_of_model("encoder_decoder", *this); }
};

/// (T,) int64: where every token stands by fairseq's count: from pad_id + 1 on over the tokens of
/// its sequence that are not `pad_id`; those stand at `pad_id`. Tokens of earlier calls all count.
Tensor positions_without_padding(const TokenList& tokens, int64_t pad_id);

/// (T, D) of the sines and cosines of position p_t: [sin(p f), cos(p f)] with f_i = exp(-i ln(10^4)
/// / (D/2 - 1)) for i below D/2, and a 0 behind them where D is odd; zeros where p_t is `none`. In
/// float32 (float64 for float64), as `like`; computed in float64.
Tensor sinusoids(const Tensor& position_T, int64_t none, int64_t width,
                 const at::TensorOptions& like);

}  // namespace moe::models
