#include <algorithm>
#include <chrono>
#include <map>

#include <moe/base/error.h>
#include <moe/data/utf8.h>
#include <moe/generation/generate.h>
#include <moe/generation/running_batch.h>
#include <moe/generation/stop_filter.h>
#include <moe/generation/switch_length.h>

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

namespace {

/// One text on its way.
class Writing {
 public:
  Writing(const data::Tokenizer& tokenizer, const GenerateOptions& options,
          std::span<const int64_t> prompt, const OnText& on_text)
      : tokenizer_(&tokenizer),
        options_(&options),
        on_text_(on_text),
        decoder_(tokenizer.stream(prompt)),
        filter_(options.stop) {}

  /// Takes a token drawn; whether the text ends with it.
  bool take(int64_t token) {
    result.tokens.push_back(token);
    const bool ended = !options_->ignore_end_of_text && ends(token);
    if (!ended) emit(characters_.push(filter_.push(decoder_->push(token))));
    if (ended || filter_.stopped()) result.finish_reason = "stop";
    return ended || filter_.stopped();
  }
  void finish(double seconds) {
    if (!filter_.stopped()) emit(characters_.push(filter_.push(decoder_->flush())));
    emit(characters_.push(filter_.flush()) + characters_.flush());
    result.tokens_per_second = static_cast<double>(result.tokens.size()) / std::max(seconds, 1e-9);
  }

  GenerateResult result{.text = {}, .tokens = {}, .finish_reason = "length"};

 private:
  bool ends(int64_t token) const {
    return token == tokenizer_->end_of_text() ||
           std::ranges::find(options_->end_tokens, token) != options_->end_tokens.end();
  }
  void emit(const std::string& text) {
    result.text += text;
    if (on_text_ && !text.empty()) on_text_(text);
  }

  const data::Tokenizer* tokenizer_;
  const GenerateOptions* options_;
  OnText on_text_;
  std::unique_ptr<data::TokenStream> decoder_;
  StopFilter filter_;
  data::Utf8Stream characters_;
};

/// Texts that follow the prompts; pieces of the first go to `on_text`.
std::vector<GenerateResult> write(const models::LoadedModel& model,
                                  const std::vector<std::string_view>& prompts,
                                  const GenerateOptions& options, const OnText& on_text) {
  using Clock = std::chrono::steady_clock;
  constexpr const char* kPlace = "generation/generate";
  options.validate(kPlace);
  check(model.tokenizer != nullptr, kPlace, "expected a model with a tokenizer, got none in '",
        model.folder.string(), "'. Put the tokenizer's files beside the model.");
  const auto start = Clock::now();
  const auto& tokenizer = *model.tokenizer;
  const auto reader = options.special ? model.tokenizer : tokenizer.without_special();
  std::vector<std::vector<int64_t>> read;
  size_t longest = 1;
  // An encoder reads whole texts, with what its tokenizer puts before and behind them.
  const bool whole = model.model->traits().decoder_start >= 0;
  for (const std::string_view prompt : prompts) {
    const std::string_view text = prompt.empty() ? "\n" : prompt;
    read.push_back(whole || options.framed ? reader->encode_framed(text) : reader->encode(text));
    longest = std::max(longest, read.back().size());
  }
  const int64_t context = model.model->traits().context_length;
  RunningBatch batch(model.model,
                     static_cast<int64_t>(longest) + std::min(options.max_tokens, context),
                     model.config.find("model") ? switch_length(model.spec()) : 0, options.budget);
  std::vector<Writing> texts;
  std::map<int64_t, size_t> text_of;  // by a sequence's number
  for (auto& prompt : read) {
    texts.emplace_back(tokenizer, options, prompt, texts.empty() ? on_text : OnText());
    texts.back().result.prompt_tokens = static_cast<int64_t>(prompt.size());
    text_of[batch.add(std::move(prompt), {.sampling = options.sampler(),
                                          .max_tokens = options.max_tokens,
                                          .vocabulary = tokenizer.vocabulary()})] =
        texts.size() - 1;
  }
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  while (batch.size() > 0)
    for (const auto& [sequence, token, last] : batch.step())
      if (texts[text_of.at(sequence)].take(token) && !last) batch.remove(sequence);
  for (Writing& text : texts) text.finish(seconds());
  std::vector<GenerateResult> out;
  for (Writing& text : texts) out.push_back(std::move(text.result));
  return out;
}

}  // namespace

GenerateResult generate(const models::LoadedModel& model, std::string_view prompt,
                        const GenerateOptions& options, const OnText& on_text) {
  return write(model, {prompt}, options, on_text).front();
}

std::vector<GenerateResult> generate_all(const models::LoadedModel& model,
                                         const std::vector<std::string>& prompts,
                                         const GenerateOptions& options) {
  return write(model, {prompts.begin(), prompts.end()}, options, {});
}

}  // namespace moe::generation
