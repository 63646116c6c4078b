#include <algorithm>

#include <moe/base/error.h>
#include <moe/models/budget.h>

namespace moe::models {

void set_budget(ForwardContext& context, const std::vector<double>& shares, const Model& model,
                const std::string& place) {
  if (shares.empty()) return;
  for (const double share : shares)
    check<ConfigError>(share > 0 && share <= 1, place, "expected a budget in (0, 1], got ", share,
                       ". It is the share of a token's choices that are computed.");
  const auto blocks = model.blocks();
  const auto layers = static_cast<int64_t>(blocks.size());
  const auto routes = [](const auto& block) { return block->routes(); };
  check<ConfigError>(std::ranges::any_of(blocks, routes), place,
                     "expected a model with layers that route, got a dense one. Leave the budget "
                     "out.");
  if (shares.size() == 1) {
    context.budget = shares.front();
    return;
  }
  check<ConfigError>(static_cast<int64_t>(shares.size()) == layers, place,
                     "expected one budget, or one for each of ", layers, " layers, got ",
                     shares.size(), ". Add or remove some.");
  for (size_t i = 0; i < shares.size(); ++i)
    check<ConfigError>(shares[i] == 1 || routes(blocks[i]), place,
                       "expected a budget of 1 for layer ", i, ", which does not route, got ",
                       shares[i], ". Correct it.");
  context.layer_budgets = shares;
}

}  // namespace moe::models
