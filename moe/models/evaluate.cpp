// B batch, S sequence, V vocabulary.
#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>

#include <moe/base/error.h>
#include <moe/base/files.h>
#include <moe/data/loader.h>
#include <moe/data/prompt_completion.h>
#include <moe/models/evaluate.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfEvaluate = "models/evaluate";
/// Logits of one batch, at most (unless one row has more).
constexpr int64_t kLogitsAtOnce = int64_t{1} << 24;
constexpr int64_t kRowsAtOnce = 32;

data::Tokens open_tokens(const std::filesystem::path& path, const std::string& format,
                         const data::Tokenizer& tokenizer) {
  auto file = MappedFile::open(path);
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()),
                              file->bytes().size());
  check(!text.empty(), kPlaceOfEvaluate, "expected text in '", path.string(),
        "', got an empty file. Give at least 2 tokens.");
  if (format == "jsonl_prompt_completion")
    return data::read_prompt_completion(text, tokenizer, path.string());
  return data::tokens_of_text(std::move(file), text, tokenizer);
}

int64_t bytes_of_targets(const data::Tokens& tokens, const data::Tokenizer& tokenizer) {
  int64_t bytes = 0;
  for (int64_t i = 1; i < tokens.size(); ++i) {
    if (!tokens.is_trained(i)) continue;
    const int64_t id = tokens[i];
    bytes += tokenizer.is_bytes() ? 1 : static_cast<int64_t>(tokenizer.decode({&id, 1}).size());
  }
  return bytes;
}

}  // namespace

double Evaluation::perplexity() const {
  return std::exp(loss());
}

double Evaluation::bits_per_byte() const {
  return loss_sum / std::numbers::ln2 / static_cast<double>(bytes);
}

Evaluation& Evaluation::operator+=(const Evaluation& other) {
  loss_sum += other.loss_sum;
  tokens += other.tokens;
  bytes += other.bytes;
  return *this;
}

Evaluation evaluate(LanguageModel& model, const data::EvalPass& pass, at::ScalarType compute) {
  const at::NoGradGuard no_grad;
  const auto parameters = model.parameters();
  const auto device = parameters.empty() ? at::Device(at::kCPU) : parameters.front().device();
  Evaluation out;
  for (int64_t i = 0; i < pass.batches(); ++i) {
    const data::Batch batch = pass.batch(i);
    const Tensor target_T = batch.target_BS.flatten().to(device);
    const auto targets = target_T.ne(data::kIgnoredTarget).sum().item<int64_t>();
    if (targets == 0) continue;
    ForwardContext context;
    context.compute = compute;
    context.first_token = batch.first_token;
    if (batch.valid_BS.defined()) context.valid_BS = batch.valid_BS.to(device);
    const Tensor logits_TV =
        model.forward(batch.input_BS.to(device), context).logits_BSV.flatten(0, 1);
    const auto type = at::promoteTypes(logits_TV.scalar_type(), at::kFloat);
    out.loss_sum += at::cross_entropy_loss(logits_TV.to(type), target_T, {}, at::Reduction::Sum,
                                           data::kIgnoredTarget)
                        .item<double>();
    out.tokens += targets;
  }
  return out;
}

Evaluation evaluate(LanguageModel& model, const data::Tokens& tokens) {
  check(tokens.size() >= 2, kPlaceOfEvaluate, "expected at least 2 tokens, got ", tokens.size(),
        ". Give more text.");
  const auto& options = model.options();
  const int64_t S = std::min(options.context_length, tokens.size() - 1);
  const int64_t rows = std::clamp<int64_t>(kLogitsAtOnce / (S * options.vocabulary), 1,
                                           std::min(kRowsAtOnce, (tokens.size() - 2) / S + 1));
  return evaluate(model, data::EvalPass(tokens, S, rows));
}

Evaluation evaluate_file(const LoadedModel& model, const std::filesystem::path& path,
                         const std::string& format) {
  check_one_of(kPlaceOfEvaluate, "format", format, {"text", "jsonl_prompt_completion"});
  const data::Tokens tokens = open_tokens(path, format, *model.tokenizer);
  check(tokens.size() >= 2, kPlaceOfEvaluate, "expected at least 2 tokens in '", path.string(),
        "', got ", tokens.size(), ". Give more text.");
  Evaluation out = evaluate(*model.model, tokens);
  check(out.tokens > 0, kPlaceOfEvaluate, "expected targets in '", path.string(),
        "', found none. Give completions.");
  out.bytes = bytes_of_targets(tokens, *model.tokenizer);
  return out;
}

}  // namespace moe::models
