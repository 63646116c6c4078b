// B batch, S sequence, V vocabulary.
#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>

#include <moe/base/error.h>
#include <moe/base/files.h>
#include <moe/data/loader.h>
#include <moe/models/evaluate.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfEvaluate = "models/evaluate";
/// Logits of one batch, at most (unless one row has more).
constexpr int64_t kLogitsAtOnce = int64_t{1} << 24;
constexpr int64_t kRowsAtOnce = 32;

data::Tokens open_tokens(const std::filesystem::path& path, const std::string& format,
                         const data::Tokenizer& tokenizer, const data::PackingOptions& packing) {
  const auto file = MappedFile::open(path);
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()),
                              file->bytes().size());
  check(!text.empty(), kPlaceOfEvaluate, "expected text in '", path.string(),
        "', got an empty file. Give at least 2 tokens.");
  return data::read_tokens(file, text, format, tokenizer,
                           data::make_layout(packing, tokenizer, at::get_num_threads()));
}

int64_t bytes_of_targets(const data::Tokens& tokens, const data::Tokenizer& tokenizer) {
  const auto end_of_text = tokenizer.end_of_text();
  int64_t bytes = 0;
  for (int64_t i = 1; i < tokens.size(); ++i) {
    const bool begins = tokens.has_documents() && tokens.document_begin(i) == i;
    const int64_t id = tokens[i];
    if (!tokens.is_trained(i) || begins || id == end_of_text) continue;
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

ForwardContext context_of(const data::Batch& batch, at::Device device) {
  ForwardContext out;
  out.first_token = batch.first_token;
  if (batch.valid_BS.defined()) out.valid_BS = batch.valid_BS.to(device);
  if (batch.document_BS.defined()) out.document_BS = batch.document_BS.to(device);
  return out;
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
    ForwardContext context = context_of(batch, device);
    context.compute = compute;
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
                         const std::string& format, const data::PackingOptions& packing) {
  check_one_of(kPlaceOfEvaluate, "format", format, data::data_formats());
  const data::Tokens tokens = open_tokens(path, format, *model.tokenizer, packing);
  check(tokens.size() >= 2, kPlaceOfEvaluate, "expected at least 2 tokens in '", path.string(),
        "', got ", tokens.size(), ". Give more text.");
  Evaluation out = evaluate(*model.model, tokens);
  check(out.tokens > 0, kPlaceOfEvaluate, "expected targets in '", path.string(),
        "', found none. Give completions.");
  out.bytes = bytes_of_targets(tokens, *model.tokenizer);
  return out;
}

data::DataOptions data_options_of(const LoadedModel& model) {
  data::DataOptions out;
  const auto* data = model.config.find("data");
  check(data && data->as<Table>(), kPlaceOfEvaluate,
        "expected a [data] section in the run's config.toml, found none. The run is damaged.");
  read_fields(out, *data->as<Table>(), "data");
  // Its own, whatever became of the file that the run read it from.
  if (const Path file = model.folder / data::kTokenizerFile; real_files().exists(file))
    out.tokenizer = file.string();
  return out;
}

}  // namespace moe::models
