// T tokens, E experts.
#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/term.h>
#include <moe/routing/router.h>
#include <moe/study/recommended.h>
#include <moe/study/settings.h>

namespace moe::study {

namespace {

constexpr const char* kSkewed = "skewed start";
/// With rows of a router's matrix drawn as usual, differences of logits are a few tenths.
constexpr double kSkew = 1;
const std::string kNoTerms = "model.moe.balance=[]";

/// Whether a term is worse when one expert has all than at balance: of those that look at the load.
bool claims_to_balance(const balance::Term& term) {
  constexpr int64_t T = 64, E = 4;
  Tensor logits_TE = at::zeros({T, E}, at::kDouble);
  logits_TE.select(1, 0).fill_(100);
  Routing routing = fixed_choices(at::zeros({T, 1}, at::kLong), at::zeros({T, 1}, at::kDouble), E);
  routing.logits_TE = logits_TE;
  routing.scores_TE = logits_TE.softmax(1);
  const LayerContext context;
  const Tensor sums = term.sums({routing, context}).to(at::kDouble);
  return term.value(sums, context).item<double>() > term.value_at_balance() + 1e-6;
}

bool term_balances(const std::string& kind) {
  try {
    return claims_to_balance(
        *balance::terms().at(kind).make({.num_experts = 4, .top_k = 1}, Table()));
  } catch (const Error&) {
    return false;  // it asks for what a routing alone has not
  }
}

Variant skewed(const std::string& name, const std::string& kind, const train::RunOptions& base,
               const std::vector<std::string>& settings, const std::string& note) {
  Variant row{.name = name, .kind = kind, .group = kSkewed, .note = note, .skew = kSkew};
  row.favoured = 2;
  try {
    row.run = with_settings(base, settings);
    row.left_out = trial(row.run);
  } catch (const ConfigError& error) {
    row.left_out = error.what();
  }
  return row;
}

std::string router_setting(const std::string& kind, const std::string& more = "") {
  return concat("model.moe.router={kind=", Value(kind).text(), ", bias=true", more, "}");
}

Variant term_row(const std::string& kind, const train::RunOptions& base) {
  const Recommended* known = find_recommended(recommended_terms(), kind);
  std::string options = known ? join(known->settings) : "coefficient=0.1";
  return skewed(kind, kind, base,
                {router_setting("topk"),
                 concat("model.moe.balance=[{kind=", Value(kind).text(), ", ", options, "}]")},
                "topk with " + options);
}

/// Routers that even out the load without a loss: those known to, and those nobody knows yet.
bool may_balance_itself(const std::string& kind) {
  if (find_recommended(recommended_balancing_routers(), kind)) return true;
  if (find_recommended(recommended_routers(), kind)) return false;
  static const std::vector<std::string> plain = {"cosine",      "gating_residual", "mlp",
                                                 "scaled_topk", "sparsemixer",     "warmup_noise"};
  return std::ranges::find(plain, kind) == plain.end();
}

}  // namespace

std::vector<Variant> balance_variants(const train::RunOptions& base) {
  std::vector<Variant> out;
  out.push_back(
      skewed("no rule", "topk", base, {router_setting("topk"), kNoTerms}, "topk without a loss"));
  out.back().reference = out.back().baseline = true;
  out.push_back(skewed("no rule, sigmoid", "sigmoid", base,
                       {router_setting("sigmoid", ", bias_rate=0"), kNoTerms},
                       "sigmoid scores with bias_rate 0"));
  out.back().reference = true;
  for (const auto& kind : balance::terms().names())
    if (term_balances(kind)) out.push_back(term_row(kind, base));
  for (const auto& kind : routing::routers().names()) {
    if (!may_balance_itself(kind)) continue;
    const bool has_bias = has_field(routing::routers().at(kind).fields(), "bias");
    if (!has_bias) continue;  // nothing to skew its start by
    const Recommended* known = find_recommended(recommended_balancing_routers(), kind);
    const std::vector<std::string> alone = {router_setting(kind), kNoTerms};
    out.push_back(skewed("router " + kind, kind, base,
                         known && !known->settings.empty() ? known->settings : alone,
                         known ? known->note : "the router alone"));
  }
  return out;
}

}  // namespace moe::study
