// M sums.
#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <moe/base/error.h>
#include <moe/base/files.h>
#include <moe/data/loader.h>
#include <moe/models/budget.h>
#include <moe/objectives/evaluate.h>
#include <moe/objectives/kinds/next_token.h>

namespace moe::objectives {

namespace {

constexpr const char* kPlaceOfEvaluate = "objectives/evaluate";
/// Tokens of one batch, at most (unless one row has more).
constexpr int64_t kTokensAtOnce = int64_t{1} << 14;
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

Tensor moved(const Tensor& tensor, at::Device device) {
  return tensor.defined() ? tensor.to(device) : tensor;
}

}  // namespace

data::Batch on_device(const data::Batch& batch, at::Device device) {
  if (device.is_cpu()) return batch;
  data::Batch out = batch;
  out.inputs.tokens.ids_T = moved(batch.inputs.tokens.ids_T, device);
  out.inputs.tokens.domains_T = moved(batch.inputs.tokens.domains_T, device);
  out.inputs.pixels_NCHW = moved(batch.inputs.pixels_NCHW, device);
  out.targets = moved(batch.targets, device);
  return out;
}

Tensor evaluate(models::Model& model, const Objective& objective, const data::EvalSource& source,
                at::ScalarType compute, parallel::Communicator& group,
                const std::vector<double>& budget) {
  const at::NoGradGuard no_grad;
  const auto rows = data::rank_rows(source.rows(), group.rank(), group.size());
  models::ForwardContext context;
  context.compute = compute;
  models::set_budget(context, budget, model, kPlaceOfEvaluate);
  Tensor sums_M;
  for (int64_t i = 0; i < source.batches(); ++i) {
    const data::Batch batch =
        on_device(objective.prepared(source.batch(i, rows), RandomKey()), model.device());
    const auto output = model.forward(batch.inputs, context);
    const Tensor found_M = objective.forward(model, output, batch, compute).sums_M;
    sums_M = sums_M.defined() ? sums_M + found_M : found_M;
  }
  check(sums_M.defined(), kPlaceOfEvaluate,
        "expected at least one batch to evaluate on, got none. Give validation data.");
  sums_M = sums_M.to(model.device());
  group.all_reduce(sums_M);
  return sums_M.to(at::kCPU);
}

EvalResult evaluate(models::Model& model, const Objective& objective,
                    const std::vector<data::EvalSet>& sets, at::ScalarType compute,
                    parallel::Communicator& group) {
  EvalResult out;
  Tensor all_M;
  for (const auto& [name, source] : sets) {
    const Tensor sums_M = evaluate(model, objective, *source, compute, group);
    out.sets.push_back({name, objective.metrics(sums_M).front().second,
                        static_cast<int64_t>(sums_M[1].item<double>())});
    all_M = all_M.defined() ? all_M + sums_M : sums_M;
  }
  if (all_M.defined())
    out.metrics = objective.metrics(all_M);
  else
    out.metrics = {{"loss", std::nan("")}};
  return out;
}

double TextLoss::perplexity() const {
  return std::exp(loss());
}

double TextLoss::bits_per_byte() const {
  return loss_sum / std::numbers::ln2 / static_cast<double>(bytes);
}

TextLoss& TextLoss::operator+=(const TextLoss& other) {
  loss_sum += other.loss_sum;
  tokens += other.tokens;
  bytes += other.bytes;
  return *this;
}

TextLoss evaluate(models::Model& model, const data::Tokens& tokens,
                  const std::vector<double>& budget) {
  check(tokens.size() >= 2, kPlaceOfEvaluate, "expected at least 2 tokens, got ", tokens.size(),
        ". Give more text.");
  const auto traits = model.traits();
  const int64_t S = std::min(traits.context_length, tokens.size() - 1);
  const int64_t rows =
      std::clamp<int64_t>(kTokensAtOnce / S, 1, std::min(kRowsAtOnce, (tokens.size() - 2) / S + 1));
  // Ids that the model does not know are refused where they are met: a file may have fewer.
  const auto objective =
      ObjectiveSpec(NextToken())
          .make(ObjectiveShape{.model = traits,
                               .data = {.vocabulary = traits.outputs, .sequence = S}});
  const Tensor sums_M = evaluate(model, *objective, data::EvalPass(tokens, S, rows),
                                 at::ScalarType::Undefined, *parallel::local(), budget);
  return {.loss_sum = sums_M[0].item<double>(),
          .tokens = static_cast<int64_t>(sums_M[1].item<double>())};
}

TextLoss evaluate_file(const models::LoadedModel& model, const std::filesystem::path& path,
                       const std::string& format, const data::PackingOptions& packing,
                       const std::vector<double>& budget) {
  check_one_of(kPlaceOfEvaluate, "format", format, data::text_formats());
  check(model.tokenizer != nullptr, kPlaceOfEvaluate,
        "expected a model with a tokenizer, got none in '", model.folder.string(),
        "'. Put its tokenizer.json beside the model.");
  const data::Tokens tokens = open_tokens(path, format, *model.tokenizer, packing);
  check(tokens.size() >= 2, kPlaceOfEvaluate, "expected at least 2 tokens in '", path.string(),
        "', got ", tokens.size(), ". Give more text.");
  TextLoss out = evaluate(*model.model, tokens, budget);
  check(out.tokens > 0, kPlaceOfEvaluate, "expected targets in '", path.string(),
        "', found none. Give completions.");
  check(std::isfinite(out.loss_sum), kPlaceOfEvaluate, "expected a finite loss on '", path.string(),
        "', got ", out.loss_sum,
        ": the model's weights are not finite or its numbers overflow. Use another checkpoint, or "
        "compute in a wider type (--dtype).");
  out.bytes = bytes_of_targets(tokens, *model.tokenizer);
  return out;
}

}  // namespace moe::objectives
