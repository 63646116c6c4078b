// T tokens, M domains of the router.
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <moe/balance/kinds/domain_classifier.h>
#include <moe/balance/probabilities.h>
#include <moe/ops/scores.h>
#include <moe/ops/sums.h>

namespace moe::balance {

namespace {

constexpr const char* kPlaceOfDomains = "balance/domain_classifier";

/// Mean cross entropy ln sum_d exp z_td - z_t,label(t) of the router's domain logits z
/// (Routing::domain_logits_TM) against the domains of context.tokens.domains_T, over the labelled
/// tokens of all ranks; 0 where none is labelled. Sums: [loss, labelled tokens].
///
/// Throws ConfigError in training where the router has no classifier, or the context no domains;
/// without training the value is 0 then.
class DomainClassifierTerm final : public Term {
 public:
  DomainClassifierTerm(const TermShape& shape, const DomainClassifierLoss&) : Term(shape) {}

  Tensor sums(const BalanceInputs& inputs) const override {
    const Tensor &z_TM = inputs.routing.domain_logits_TM,
                 &domain_T = inputs.context.tokens.domains_T;
    const bool training = inputs.context.training;
    check<ConfigError>(!training || z_TM.defined(), kPlaceOfDomains,
                       "expected a router with a classifier of domains, got one without. Take "
                       "router.kind = \"domain_aware\", or leave the term out.");
    check<ConfigError>(!training || domain_T.defined(), kPlaceOfDomains,
                       "expected the domain of each token, got none. Give domains_T and "
                       "num_domains in context.tokens, or leave the term out.");
    if (!z_TM.defined() || !domain_T.defined())
      return at::zeros({2}, inputs.routing.experts_N.options().dtype(at::kDouble));
    check_labels(z_TM, domain_T);
    const Tensor known_T = domain_T.ge(0);
    const Tensor own_T = at::gather(z_TM, 1, domain_T.clamp_min(0).unsqueeze(1)).squeeze(1);
    const Tensor loss_T = ops::log_sum_exp(z_TM) - own_T;
    const Tensor loss = ops::sum_of_all(at::where(known_T, loss_T, at::zeros_like(loss_T)));
    return at::cat({loss.reshape({1}), known_T.sum().to(at::kDouble).reshape({1})});
  }

  Tensor value(const Tensor& sums, const LayerContext&) const override {
    return sums[0] / sums[1].clamp_min(1);
  }

  double value_at_balance() const override { return std::numeric_limits<double>::quiet_NaN(); }

 private:
  static void check_labels(const Tensor& z_TM, const Tensor& domain_T) {
    const int64_t T = z_TM.size(0), M = z_TM.size(1);
    check(domain_T.dim() == 1 && domain_T.size(0) == T && domain_T.scalar_type() == at::kLong,
          kPlaceOfDomains, "expected domains_T to be int64 of shape (T=", T, "), got ",
          domain_T.scalar_type(), ' ', domain_T.sizes(), ". Label each token.");
    const int64_t largest = T > 0 ? domain_T.max().item<int64_t>() : -1;
    check<ConfigError>(largest < M, kPlaceOfDomains, "expected domains below the ", M,
                       " that the router tells apart, got ", largest,
                       ". Raise router.domains to the number of the data's domains.");
  }
};

}  // namespace

MOE_KIND(terms, domain_classifier, DomainClassifierTerm, DomainClassifierLoss)

}  // namespace moe::balance
