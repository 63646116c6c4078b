#pragma once
// V vocabulary.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace moe::generation {

using at::Tensor;

/// Names the fields of SamplerOptions, and of other options that have the same ones.
template <class Visitor, class Options>
void sampler_fields(Visitor& v, Options& o) {
  v("temperature", o.temperature, "divides the logits; 0: always the likeliest token");
  v("top_k", o.top_k, "keep the k likeliest tokens; 0: all");
  v("top_p", o.top_p, "keep the fewest tokens whose probabilities reach p together; 1: all");
  v("min_p", o.min_p, "keep tokens at least min_p times as likely as the likeliest; 0: all");
  v("repetition_penalty", o.repetition_penalty,
    "divides positive logits, multiplies negative ones, of tokens seen before; 1: none");
  v("seed", o.seed, "of the draws");
}

/// How a token is drawn from logits.
struct SamplerOptions {
  double temperature = 1;
  int64_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  int64_t seed = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    sampler_fields(v, *this);
  }
  /// Throws ConfigError naming the option.
  void validate(const std::string& place) const;
};

/// (V,) probabilities that `sample` draws from: softmax(l / temperature) with l the logits after
/// the repetition penalty (Keskar et al. 2019), restricted in this order to the top_k likeliest
/// tokens, to the fewest of those whose share reaches top_p (Holtzman et al. 2019), and to those of
/// at least min_p times the largest probability (Nguyen et al. 2024), and normalised. Ties go to
/// the lowest id; temperature 0 puts everything on the likeliest token.
///
/// logits_V: any floating dtype; `history`: ids the penalty is for. Throws moe::Error for NaN or
/// +infinity among the logits, for logits that are all -infinity and for ids outside [0, V).
std::vector<double> sampling_probabilities(const Tensor& logits_V, std::span<const int64_t> history,
                                           const SamplerOptions& options);

/// One token drawn from those probabilities. A function of its arguments: the random number is that
/// of (seed, position).
int64_t sample(const Tensor& logits_V, std::span<const int64_t> history,
               const SamplerOptions& options, int64_t position);

}  // namespace moe::generation
