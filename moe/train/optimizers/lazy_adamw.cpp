#include <moe/train/adamw_rule.h>
#include <moe/train/optimizers/lazy_adamw.h>

namespace moe::train {

namespace {

class LazyAdamWOptimizer final : public AdamWOptimizer {
 public:
  using AdamWOptimizer::AdamWOptimizer;

 protected:
  bool skips_idle() const override { return true; }
};

}  // namespace

MOE_KIND(optimizers, lazy_adamw, LazyAdamWOptimizer, LazyAdamW)

}  // namespace moe::train
