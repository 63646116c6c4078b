#include <moe/train/adamw_rule.h>

namespace moe {

void AdamW::validate(const std::string& place) const {
  for (const auto& [key, beta] : {std::pair{"beta1", beta1}, std::pair{"beta2", beta2}})
    check<ConfigError>(beta >= 0 && beta < 1, "config", "expected '", place, '.', key,
                       "' in [0, 1), got ", beta, ". Correct it.");
  check<ConfigError>(epsilon >= 1e-30 && epsilon < 1e30, "config", "expected '", place,
                     ".epsilon' to be finite and at least 1e-30, got ", epsilon, ". Correct it.");
}

namespace train {

MOE_KIND(optimizers, adamw, AdamWOptimizer, AdamW)

}  // namespace train

}  // namespace moe
