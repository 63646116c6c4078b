#include <numeric>

#include <moe/train/adamw_rule.h>
#include <moe/train/optimizer.h>

namespace moe {

void AdamW::validate(const std::string& place) const {
  for (const auto& [key, beta] : {std::pair{"beta1", beta1}, std::pair{"beta2", beta2}})
    check<ConfigError>(beta >= 0 && beta < 1, "config", "expected '", place, '.', key,
                       "' in [0, 1), got ", beta, ". Correct it.");
  check<ConfigError>(epsilon >= 1e-30 && epsilon < 1e30, "config", "expected '", place,
                     ".epsilon' to be finite and at least 1e-30, got ", epsilon, ". Correct it.");
}

namespace train {

namespace {

std::vector<size_t> all_of(const Parameters& parameters) {
  std::vector<size_t> out(parameters.size());
  std::iota(out.begin(), out.end(), size_t{0});
  return out;
}

class AdamWOptimizer final : public Optimizer {
 public:
  AdamWOptimizer(const OptimizerShape& shape, const AdamW& options)
      // Every number goes its own way.
      : Optimizer(shape, [](const Parameter&) { return true; }),
        rule_(parameters(), all_of(parameters()), options, shares()) {}

  Parameters state() const override {
    Parameters out;
    rule_.add_state(out);
    return out;
  }
  std::vector<Tensor> moments(size_t index) const override { return rule_.moments(index); }

 protected:
  void update(const std::vector<Change>& changes) override {
    for (const auto& change : changes)
      rule_.add(change.index, change.lr, change.weight_decay, change.rows);
    rule_.finish();
  }

 private:
  AdamWRule rule_;
};

}  // namespace

MOE_KIND(optimizers, adamw, AdamWOptimizer, AdamW)

}  // namespace train

}  // namespace moe
