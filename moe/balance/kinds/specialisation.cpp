// T tokens, E experts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <moe/balance/kinds/specialisation.h>
#include <moe/balance/probabilities.h>
#include <moe/balance/term.h>
#include <moe/ops/sums.h>

namespace moe {

void SpecialisationLoss::validate(const std::string&) const {
  check_one_of("balance/specialisation", "over", over, {"tokens", "domains"});
}

}  // namespace moe

namespace moe::balance {

namespace {

/// Minus the mutual information in nats of expert and token, mean_t H(p_t) - H(mean_t p_t), or
/// of expert and domain, sum_c n_c/n H(mean_{t in c} p_t) - H(mean_t p_t), over the tokens of all
/// ranks.
///
/// Over tokens: each token sure of its experts, all experts in use. 0 when every token has the same
/// probabilities (so at balance, and at collapse); its minimum, -ln E, when every token is sure and
/// the experts are used evenly. Over domains: each domain has experts of its own, between which its
/// tokens may be torn; tokens of unknown domain take no part. Sums: [p_E, tokens, sum_t -H(p_t)],
/// or [p_E, tokens] of each domain.
///
/// Throws ConfigError in training when the context has no domains; without training the value is 0
/// then.
class SpecialisationTerm final : public Term {
 public:
  SpecialisationTerm(const TermShape& shape, const SpecialisationLoss& options)
      : Term(shape), experts_(shape.num_experts), by_domain_(options.over == "domains") {}

  Tensor sums(const BalanceInputs& inputs) const override {
    const Routing& routing = inputs.routing;
    if (by_domain_) return sums_by_domain(routing, inputs.context);
    const Tensor totals = probability_sums(routing);
    const Tensor certainty = routing.scores_TE.defined()
                                 ? ops::sum_of_all(p_log_p(probabilities(routing))).reshape({1})
                                 : at::zeros({1}, totals.options());
    return at::cat({totals, certainty});
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    if (by_domain_) return value_by_domain(sums.reshape({-1, experts_ + 1}));
    const Tensor tokens = sums[experts_], certainty = sums[experts_ + 1] / tokens.clamp_min(1);
    const Tensor evenness = p_log_p(mean_probability(sums.slice(0, 0, experts_ + 1))).sum();
    // Without tokens the mean probabilities are even, and nothing is known of any token.
    return (evenness - certainty) * tokens.gt(0).to(sums.scalar_type());
  }

  double value_at_balance() const override { return 0; }

 private:
  /// (C (E + 1)) of the context's C domains.
  Tensor sums_by_domain(const Routing& routing, const LayerContext& context) const {
    const Tensor& domains_T = context.tokens.domains_T;
    const int64_t C = context.tokens.num_domains, T = routing.tokens();
    const auto wide = routing.experts_N.options().dtype(at::kDouble);
    check<ConfigError>(!context.training || (domains_T.defined() && C > 0),
                       "balance/specialisation",
                       "expected the domain of each token for over = \"domains\", got none. Give "
                       "domains_T and num_domains in context.tokens, or take over = \"tokens\".");
    if (!domains_T.defined() || !routing.scores_TE.defined())
      return at::zeros({C * (experts_ + 1)}, wide);
    check(domains_T.dim() == 1 && domains_T.size(0) == T && domains_T.scalar_type() == at::kLong,
          "balance/specialisation", "expected domains_T to be int64 of shape (T=", T, "), got ",
          domains_T.scalar_type(), ' ', domains_T.sizes(), '.');
    check(T == 0 || domains_T.max().item<int64_t>() < C, "balance/specialisation",
          "expected domains below num_domains=", C, ", got a higher one. Raise num_domains.");
    const Tensor in_TC =
        domains_T.unsqueeze(1).eq(at::arange(C, domains_T.options())).to(at::kDouble);
    const Tensor p_CE = at::matmul(in_TC.t(), probabilities(routing).to(at::kDouble));
    return at::cat({p_CE, in_TC.sum(0).unsqueeze(1)}, 1).flatten();
  }

  Tensor value_by_domain(const Tensor& sums_CE1) const {
    const Tensor p_CE = sums_CE1.slice(1, 0, experts_), tokens_C1 = sums_CE1.slice(1, experts_);
    const Tensor tokens = tokens_C1.sum(), share_C1 = tokens_C1 / tokens.clamp_min(1);
    const Tensor within = (share_C1 * p_log_p(p_CE / tokens_C1.clamp_min(1))).sum();
    return p_log_p(p_CE.sum(0) / tokens.clamp_min(1)).sum() - within;
  }

  int64_t experts_;
  bool by_domain_;
};

}  // namespace

MOE_KIND(terms, specialisation, SpecialisationTerm, SpecialisationLoss)

}  // namespace moe::balance
