#pragma once

#include <string>
#include <vector>

#include <moe/data/corpus.h>
#include <moe/models/model.h>

namespace moe::train {

/// Mean cross entropy on one domain's validation data.
struct DomainLoss {
  std::string name;
  double loss = 0;
  int64_t tokens = 0;
};

struct EvalResult {
  /// Over all tokens of all domains, in nats.
  double loss = 0;
  double perplexity = 0;
  std::vector<DomainLoss> domains;
};

/// Evaluates on up to `max_batches` batches of every domain that has validation data (-1: all of
/// it). Windows do not overlap; nothing of the model's state changes. All domains empty: loss NaN,
/// no domains.
EvalResult evaluate(models::LanguageModel& model, const data::Corpus& corpus, int64_t batch,
                    int64_t max_batches, at::ScalarType compute);

}  // namespace moe::train
