// T tokens, D model width, E experts, K choices per token, M domains.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>

#include <moe/ops/random_fill.h>
#include <moe/routing/finish.h>
#include <moe/routing/kinds/domain_aware.h>
#include <moe/routing/labels.h>
#include <moe/routing/softmax_rule.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void DomainAwareRouter::validate(const std::string&) const {
  const char* place = "routing/domain_aware";
  check<ConfigError>(domains >= 1, place, "expected domains >= 1, got ", domains,
                     ". Give the number of the data's domains.");
  routing::SoftmaxRule::of(*this).validate(place);
}

}  // namespace moe

namespace moe::routing {

namespace {

constexpr const char* kPlaceOfDomainAware = "routing/domain_aware";

/// Every second domain starts as the opposite of the one before it: where all are equally likely no
/// expert is preferred, and yet the classifier learns from the first step on.
void start_opposed(Tensor values_EM, const RandomStream& stream) {
  ops::fill_normal_(values_EM, stream, 0.02);
  for (int64_t d = 0; d < values_EM.size(1); ++d) {
    Tensor column_E = values_EM.select(1, d);
    if (d % 2 == 1)
      column_E.copy_(-values_EM.select(1, d - 1));
    else if (d + 1 == values_EM.size(1))
      column_E.zero_();
  }
}

struct DomainClassifier final : Module {
  DomainClassifier(int64_t M, int64_t D, const at::TensorOptions& tensors) : Module(tensors) {
    weight_MD = add_parameter("weight", {M, D}, {.role = Role::kScores});
    bias_M = add_parameter("bias", {M}, {.role = Role::kBias});
  }

  Tensor weight_MD, bias_M;
};

/// SoftmaxRule on l_e = (W x)_e + sum_d P(d | x) A_ed, with P(d | x) = softmax(V x + c)_d.
///
/// The domains are latent where nothing else is said: then this is a mixture of M priors over
/// experts. The balance term domain_classifier trains P from the labels in
/// context.tokens.domains_T, for which the routing has domain_logits_TM = V x + c; with labels =
/// true P(d | x) of a labelled token is 1 at its label.
///
/// Parameters: "weight" (E, D), W; "affinity" (E, M), A, which starts so that equally likely
/// domains prefer no expert; "classifier.weight" (M, D), V, and "classifier.bias" (M), c. logits_TE
/// is l. In DEMix (Gururangan et al. 2022) the posterior of domains alone weighs the experts, one
/// for each domain.
class DomainAware final : public Router {
 public:
  DomainAware(const RouterShape& shape, const DomainAwareRouter& options)
      : Router(shape), options_(options), rule_(SoftmaxRule::of(options)) {
    const int64_t D = shape.d_model, E = shape.num_experts, M = options.domains;
    weight_ED_ = add_parameter("weight", {E, D}, {.role = Role::kScores, .per_expert = true});
    affinity_EM_ = add_parameter(
        "affinity", {E, M}, {.role = Role::kScores, .per_expert = true, .start = start_opposed});
    classifier_ =
        register_module("classifier", std::make_shared<DomainClassifier>(M, D, tensors()));
    set_untrained(why_constant(shape, rule_.weights_sum_to_one(), kPlaceOfDomainAware,
                               rule_.settings_of_raw_weights()));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const Tensor domain_logits_TM = wide_linear(x_TD, classifier_->weight_MD, classifier_->bias_M);
    const Tensor p_TM = with_labels(at::softmax(domain_logits_TM, 1), context);
    const Tensor logits_TE = wide_linear(x_TD, weight_ED_) + wide_linear(p_TM, affinity_EM_);
    Routing routing = choose_by_softmax(logits_TE, shape_.top_k, rule_, context);
    routing.domain_logits_TM = domain_logits_TM;
    return routing;
  }

 private:
  Tensor with_labels(const Tensor& p_TM, const LayerContext& context) const {
    if (!options_.labels) return p_TM;
    const int64_t M = options_.domains;
    const Tensor domain_T = labels_of(context, p_TM.size(0), M, kPlaceOfDomainAware, "domains");
    if (!domain_T.defined()) return p_TM;
    const Tensor domain_T1 = domain_T.unsqueeze(1);
    const Tensor label_TM = domain_T1.eq(at::arange(M, domain_T.options())).to(p_TM.scalar_type());
    return at::where(domain_T1.ge(0), label_TM, p_TM);
  }

  DomainAwareRouter options_;
  SoftmaxRule rule_;
  Tensor weight_ED_, affinity_EM_;
  std::shared_ptr<DomainClassifier> classifier_;
};

}  // namespace

MOE_KIND(routers, domain_aware, DomainAware, DomainAwareRouter)

}  // namespace moe::routing
