#pragma once
// B batch, S sequence, V vocabulary.

#include <cstdint>
#include <filesystem>
#include <string>

#include <moe/data/loader.h>
#include <moe/models/load.h>

namespace moe::models {

/// How well a model predicts text. Sums, so that several files add up.
struct Evaluation {
  double loss_sum = 0;  // nats, over all targets
  int64_t tokens = 0;   // targets
  int64_t bytes = 0;    // that the targets stand for

  double loss() const { return loss_sum / static_cast<double>(tokens); }
  double perplexity() const;
  double bits_per_byte() const;

  Evaluation& operator+=(const Evaluation& other);
};

/// What a model is told of `batch`, on `device`: where it stands, padding and documents.
ForwardContext context_of(const data::Batch& batch, at::Device device = at::kCPU);

/// The batches of `pass`, with products in `compute` (Undefined: the model's type). Nothing of the
/// model changes. `bytes` stays 0.
Evaluation evaluate(LanguageModel& model, const data::EvalPass& pass,
                    at::ScalarType compute = at::ScalarType::Undefined);

/// One pass over `tokens` in windows of the model's context length that do not overlap: every token
/// but the first is predicted once, from those of its window before it. `bytes` stays 0. Throws
/// moe::Error for fewer than 2 tokens and for ids outside the vocabulary.
Evaluation evaluate(LanguageModel& model, const data::Tokens& tokens);

/// The same for a file, with `bytes` (an end-of-text token stands for none). `format`: one of
/// data::data_formats(); of prompts and completions only completions are targets. `packing`: where
/// documents end and whether they stand apart (data::EvalPass). Throws moe::Error for a file that
/// is missing, empty, shorter than 2 tokens, or without targets.
Evaluation evaluate_file(const LoadedModel& model, const std::filesystem::path& path,
                         const std::string& format = "text",
                         const data::PackingOptions& packing = {});

/// The data of the run that made the model, read with the model's own tokenizer. Throws moe::Error
/// when its configuration has none.
data::DataOptions data_options_of(const LoadedModel& model);

}  // namespace moe::models
