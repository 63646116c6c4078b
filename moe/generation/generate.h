#pragma once
// Text that follows a prompt. No shape letters: tensors stay inside.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <moe/generation/sampler.h>
#include <moe/models/load.h>

namespace moe::generation {

/// What to write and how. Flat, so that a call reads {.max_tokens = 64, .temperature = 0.8}.
struct GenerateOptions {
  int64_t max_tokens = 256;
  double temperature = 1;
  int64_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  std::vector<std::string> stop = {};
  bool ignore_end_of_text = false;
  bool special = true;
  int64_t seed = 0;
  /// Put around the prompt what the tokenizer puts around a text (BOS); not where the prompt has
  /// it already, as a chat template writes it.
  bool framed = true;
  /// The share of its choices that each layer computes (models/budget.h); none: all.
  std::vector<double> budget = {};
  /// Ids that end the text, beside the tokenizer's end-of-text token.
  std::vector<int64_t> end_tokens = {};

  template <class Visitor>
  void fields(Visitor& v) {
    v("max_tokens", max_tokens, "most tokens to write");
    sampler_fields(v, *this);
    v("stop", stop, "strings before which the text ends");
    v("ignore_end_of_text", ignore_end_of_text,
      "write on behind the tokenizer's end-of-text token, which ends the text otherwise");
    v("special", special,
      "read text of the prompt that looks like a special token (<|endoftext|>) as that token");
  }
  void validate(const std::string& place) const;
  SamplerOptions sampler() const;
};

struct GenerateResult {
  /// Well-formed UTF-8: bytes that are none have become U+FFFD. The prompt is not repeated.
  std::string text;
  /// Every token drawn, those of a stop string and the end-of-text token too.
  std::vector<int64_t> tokens;
  /// "stop": a stop string or the end-of-text token came; "length": max_tokens or the context is
  /// used up.
  std::string finish_reason;
  /// Tokens drawn over the time of the whole call.
  double tokens_per_second = 0;
  /// Tokens the prompt was read as.
  int64_t prompt_tokens = 0;
};

/// Receives text as soon as it is certain: one or more whole characters at a time.
using OnText = std::function<void(std::string_view)>;

/// Writes on after `prompt` (empty: after a newline). The pieces handed to `on_text` add up to the
/// result's text. Throws ConfigError for options out of range and moe::Error for a prompt longer
/// than the model's context and for a model without a tokenizer; what `on_text` throws passes
/// through. Thread-safe.
GenerateResult generate(const models::LoadedModel& model, std::string_view prompt,
                        const GenerateOptions& options = {}, const OnText& on_text = {});

/// The same for several prompts, which are written on together: each result is the one that its
/// prompt gets alone.
std::vector<GenerateResult> generate_all(const models::LoadedModel& model,
                                         const std::vector<std::string>& prompts,
                                         const GenerateOptions& options = {});

}  // namespace moe::generation

namespace moe {
using generation::generate;
using generation::generate_all;
using generation::GenerateOptions;
using generation::GenerateResult;
}  // namespace moe
