#pragma once
// M sums.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <moe/data/options.h>
#include <moe/data/tokens.h>
#include <moe/models/load.h>
#include <moe/objectives/objective.h>

namespace moe::objectives {

/// `batch` where a model can read it.
data::Batch on_device(const data::Batch& batch, at::Device device);

/// Sums (M,) of `objective` over all batches of `source`, each rank taking its rows: the same on
/// all ranks of `group`, which all call it. Products are in `compute` (Undefined: the model's
/// type); layers compute the share of their choices that `budget` says (models/budget.h; none:
/// all). Nothing of the model changes.
Tensor evaluate(models::Model& model, const Objective& objective, const data::EvalSource& source,
                at::ScalarType compute = at::ScalarType::Undefined,
                parallel::Communicator& group = *parallel::local(),
                const std::vector<double>& budget = {});

/// The mean loss on one set; NaN where it has no targets.
struct SetLoss {
  std::string name;
  double loss = 0;
  int64_t targets = 0;
};

struct EvalResult {
  /// Of all sets together, as the objective names them: the loss first.
  std::vector<Metric> metrics;
  std::vector<SetLoss> sets;

  double loss() const { return metrics.front().second; }
};

/// The same for several sets; `sets` is empty, and the loss NaN, where there are none.
EvalResult evaluate(models::Model& model, const Objective& objective,
                    const std::vector<data::EvalSet>& sets, at::ScalarType compute,
                    parallel::Communicator& group);

/// How well a model predicts text. Sums, so that several files add up.
struct TextLoss {
  double loss_sum = 0;  // nats, over all targets
  int64_t tokens = 0;   // targets
  int64_t bytes = 0;    // that the targets stand for

  double loss() const { return loss_sum / static_cast<double>(tokens); }
  double perplexity() const;
  double bits_per_byte() const;

  TextLoss& operator+=(const TextLoss& other);
};

/// One pass over `tokens` in windows of the model's context length that do not overlap: every token
/// but the first is predicted once, from those of its window before it. `bytes` stays 0. Throws
/// moe::Error for fewer than 2 tokens and for ids outside the vocabulary.
TextLoss evaluate(models::Model& model, const data::Tokens& tokens,
                  const std::vector<double>& budget = {});

/// The same for a file, with `bytes` (an end-of-text token stands for none). `format`: one of
/// data::text_formats(); of prompts and completions only completions are targets. `packing`: where
/// documents end and whether they stand apart (data::EvalPass). Throws moe::Error for a file that
/// is missing, empty, shorter than 2 tokens, or without targets, and where the loss is no number.
TextLoss evaluate_file(const models::LoadedModel& model, const std::filesystem::path& path,
                       const std::string& format = "text", const data::PackingOptions& packing = {},
                       const std::vector<double>& budget = {});

}  // namespace moe::objectives
