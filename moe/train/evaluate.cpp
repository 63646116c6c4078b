#include <cmath>

#include <moe/models/evaluate.h>
#include <moe/train/evaluate.h>

namespace moe::train {

EvalResult evaluate(models::LanguageModel& model, const data::Corpus& corpus, int64_t batch,
                    int64_t max_batches, at::ScalarType compute) {
  EvalResult result;
  models::Evaluation all;
  for (const auto& domain : corpus.domains()) {
    if (domain.valid.size() == 0) continue;
    const data::EvalPass pass(domain.valid, corpus.sequence(), batch, max_batches);
    const models::Evaluation part = models::evaluate(model, pass, compute);
    result.domains.push_back(
        {domain.name, part.tokens > 0 ? part.loss() : std::nan(""), part.tokens});
    all += part;
  }
  result.loss = all.tokens > 0 ? all.loss() : std::nan("");
  result.perplexity = std::exp(result.loss);
  return result;
}

}  // namespace moe::train
