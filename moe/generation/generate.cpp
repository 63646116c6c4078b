#include <algorithm>
#include <chrono>

#include <moe/base/error.h>
#include <moe/data/utf8.h>
#include <moe/generation/continuation.h>
#include <moe/generation/generate.h>
#include <moe/generation/stop_filter.h>

namespace moe::generation {

void GenerateOptions::validate(const std::string& place) const {
  check<ConfigError>(max_tokens >= 1, place, "expected max_tokens >= 1, got ", max_tokens,
                     ". Correct it.");
  sampler().validate(place);
  static_cast<void>(StopFilter(stop));
}

SamplerOptions GenerateOptions::sampler() const {
  return {.temperature = temperature,
          .top_k = top_k,
          .top_p = top_p,
          .min_p = min_p,
          .repetition_penalty = repetition_penalty,
          .seed = seed};
}

GenerateResult generate(const models::LoadedModel& model, std::string_view prompt,
                        const GenerateOptions& options, const OnText& on_text) {
  using Clock = std::chrono::steady_clock;
  constexpr const char* kPlace = "generation/generate";
  options.validate(kPlace);
  check(model.tokenizer != nullptr, kPlace, "expected a model with a tokenizer, got none in '",
        model.folder.string(), "'. Put the tokenizer's files beside the model.");
  const auto start = Clock::now();
  const auto& tokenizer = *model.tokenizer;
  Continuation continuation(model.model, tokenizer.encode(prompt.empty() ? "\n" : prompt),
                            {.sampling = options.sampler(),
                             .max_tokens = options.max_tokens,
                             .vocabulary = tokenizer.vocabulary()});
  StopFilter filter(options.stop);
  data::Utf8Stream characters;
  GenerateResult result{.text = {}, .tokens = {}, .finish_reason = "length"};
  result.prompt_tokens = static_cast<int64_t>(continuation.tokens().size());
  const auto emit = [&](const std::string& text) {
    result.text += text;
    if (on_text && !text.empty()) on_text(text);
  };
  const auto end_of_text = options.ignore_end_of_text ? std::nullopt : tokenizer.end_of_text();
  bool ended = false;
  while (!filter.stopped() && !ended &&
         static_cast<int64_t>(result.tokens.size()) < options.max_tokens) {
    const auto token = continuation.next();
    if (!token) break;
    result.tokens.push_back(*token);
    ended = token == end_of_text;
    if (!ended) emit(characters.push(filter.push(tokenizer.decode({&*token, 1}))));
  }
  if (filter.stopped() || ended) result.finish_reason = "stop";
  emit(characters.push(filter.flush()) + characters.flush());
  const std::chrono::duration<double> seconds = Clock::now() - start;
  result.tokens_per_second =
      static_cast<double>(result.tokens.size()) / std::max(seconds.count(), 1e-9);
  return result;
}

}  // namespace moe::generation
