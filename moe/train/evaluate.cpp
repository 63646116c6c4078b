#include <cmath>

#include <ATen/core/grad_mode.h>

#include <moe/data/loader.h>
#include <moe/train/evaluate.h>
#include <moe/train/step.h>

namespace moe::train {

EvalResult evaluate(models::LanguageModel& model, const data::Corpus& corpus, int64_t batch,
                    int64_t max_batches, at::ScalarType compute) {
  const at::NoGradGuard no_grad;
  EvalResult result;
  double sum = 0;
  int64_t count = 0;
  for (const auto& domain : corpus.domains()) {
    if (domain.valid.size() == 0) continue;
    const data::EvalPass pass(domain.valid, corpus.sequence(), batch, max_batches);
    double domain_sum = 0;
    int64_t domain_count = 0;
    for (int64_t i = 0; i < pass.batches(); ++i) {
      const data::Batch part = pass.batch(i);
      models::ForwardContext context;
      context.compute = compute;
      const auto [loss, targets] =
          token_losses(model.forward(part.input_BS, context).logits_BSV, part.target_BS);
      domain_sum += loss.item<double>();
      domain_count += targets.item<int64_t>();
    }
    result.domains.push_back({domain.name,
                              domain_sum / static_cast<double>(std::max<int64_t>(1, domain_count)),
                              domain_count});
    sum += domain_sum;
    count += domain_count;
  }
  result.loss = count > 0 ? sum / static_cast<double>(count) : std::nan("");
  result.perplexity = std::exp(result.loss);
  return result;
}

}  // namespace moe::train
