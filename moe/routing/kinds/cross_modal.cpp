// T tokens, D model width, P width of the projections, E experts, K choices per token, M
// modalities.
#include <algorithm>
#include <charconv>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <moe/routing/finish.h>
#include <moe/routing/kinds/cross_modal.h>
#include <moe/routing/labels.h>
#include <moe/routing/softmax_rule.h>
#include <moe/routing/wide_linear.h>

namespace moe {

namespace {

constexpr const char* kPlaceOfCrossModal = "routing/cross_modal";

/// First and last of the experts that a part of an `allowed` entry names: "3" or "0-3".
std::pair<int64_t, int64_t> range_of(const std::string& part, const std::string& entry) {
  const auto number = [](const char*& at, const char* end, int64_t& out) {
    const auto [stop, problem] = std::from_chars(at, end, out);
    const bool read = problem == std::errc() && stop != at && out >= 0;
    at = stop;
    return read;
  };
  const char *at = part.data(), *const end = at + part.size();
  int64_t first = 0, last = 0;
  bool read = number(at, end, first);
  last = first;
  if (read && at != end && *at == '-') read = number(++at, end, last);
  check<ConfigError>(read && at == end && first <= last, kPlaceOfCrossModal,
                     "expected numbers and rising ranges of experts in allowed, as in \"0-3,6\", "
                     "got '",
                     part, "' in \"", entry, "\". Correct it.");
  return {first, last};
}

std::vector<std::pair<int64_t, int64_t>> ranges_of(const std::string& entry) {
  std::vector<std::pair<int64_t, int64_t>> out;
  for (size_t begin = 0; !entry.empty() && begin <= entry.size();) {
    const size_t comma = std::min(entry.find(',', begin), entry.size());
    out.push_back(range_of(entry.substr(begin, comma - begin), entry));
    begin = comma + 1;
  }
  return out;
}

}  // namespace

void CrossModalRouter::validate(const std::string&) const {
  const char* place = kPlaceOfCrossModal;
  check<ConfigError>(modalities >= 1, place, "expected modalities >= 1, got ", modalities,
                     ". Give the number of the data's domains.");
  check<ConfigError>(projection >= 0, place, "expected projection >= 0, got ", projection,
                     ". Use 0 for d_model.");
  check<ConfigError>(unlabelled >= -1 && unlabelled < modalities, place,
                     "expected unlabelled in [-1, modalities=", modalities, "), got ", unlabelled,
                     ". Name a modality, or -1 to refuse tokens without one.");
  check<ConfigError>(allowed.empty() || static_cast<int64_t>(allowed.size()) == modalities, place,
                     "expected one entry of allowed for each of modalities=", modalities, ", got ",
                     allowed.size(), ". Write \"\" for a modality that may choose all experts.");
  for (const auto& entry : allowed) ranges_of(entry);
  routing::SoftmaxRule::of(*this).validate(place);
}

}  // namespace moe

namespace moe::routing {

namespace {

struct Projections final : Module {
  Projections(int64_t rows, int64_t D, const at::TensorOptions& tensors) : Module(tensors) {
    weight = add_parameter("weight", {rows, D}, {.role = Role::kMatrix});
  }

  Tensor weight;
};

/// SoftmaxRule on l = W P_m x over the experts that the token's modality m may choose: its label in
/// context.tokens.domains_T. The others have score and weight 0, whatever their logit. (One router
/// behind projections of image and text: as the shared layers of LIMoE, Mustafa et al. 2022, and
/// the modality-aware groups of experts of MoMa, Lin et al. 2024, are.)
///
/// Parameters: "weight" (E, P), W; "projections.weight" (M P, D), the P_m one below the other.
/// logits_TE is l of all experts. A capacity that moves a token to its next best expert
/// (overflow = "next_best") looks at scores alone and may move it to one of score 0.
class CrossModal final : public Router {
 public:
  CrossModal(const RouterShape& shape, const CrossModalRouter& options)
      : Router(shape),
        options_(options),
        rule_(SoftmaxRule::of(options)),
        width_(options.projection > 0 ? options.projection : shape.d_model) {
    const int64_t D = shape.d_model, E = shape.num_experts, M = options.modalities;
    check_allowed();
    weight_EP_ = add_parameter("weight", {E, width_}, {.role = Role::kScores, .per_expert = true});
    projections_ =
        register_module("projections", std::make_shared<Projections>(M * width_, D, tensors()));
    set_untrained(why_constant(shape, rule_.weights_sum_to_one(), kPlaceOfCrossModal,
                               rule_.settings_of_raw_weights()));
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const int64_t T = x_TD.size(0), P = width_, M = options_.modalities;
    const Tensor modality_T = modalities(x_TD, context);
    const Tensor all_TMP = wide_linear(x_TD, projections_->weight).view({T, M, P});
    const Tensor own_TP =
        at::gather(all_TMP, 1, modality_T.view({T, 1, 1}).expand({T, 1, P})).squeeze(1);
    const Tensor logits_TE = wide_linear(own_TP, weight_EP_);
    if (options_.allowed.empty()) return choose_by_softmax(logits_TE, shape_.top_k, rule_, context);
    const Tensor allowed_TE = allowed_ME(x_TD.device()).index_select(0, modality_T);
    Routing routing = choose_by_softmax(at::where(allowed_TE, logits_TE, -INFINITY), shape_.top_k,
                                        rule_, context);
    routing.logits_TE = logits_TE;
    return routing;
  }

 private:
  void check_allowed() const {
    const int64_t E = shape_.num_experts, K = shape_.top_k;
    for (size_t m = 0; m < options_.allowed.size(); ++m) {
      const std::string& entry = options_.allowed[m];
      for (const auto& [first, last] : ranges_of(entry))
        check<ConfigError>(last < E, kPlaceOfCrossModal,
                           "expected allowed experts below "
                           "num_experts=",
                           E, ", got ", last, " in \"", entry, "\". Correct it.");
      const int64_t found = allowed_ME(at::kCPU)[static_cast<int64_t>(m)].sum().item<int64_t>();
      check<ConfigError>(found >= K, kPlaceOfCrossModal, "expected at least top_k=", K,
                         " allowed experts for each modality, got ", found, " for modality ", m,
                         ". Allow more, or lower top_k.");
    }
  }

  /// (T,) int64 in [0, M).
  Tensor modalities(const Tensor& x_TD, const LayerContext& context) const {
    const int64_t T = x_TD.size(0), usual = options_.unlabelled;
    const Tensor domain_T =
        labels_of(context, T, options_.modalities, kPlaceOfCrossModal, "modalities");
    const bool labelled =
        domain_T.defined() && (usual >= 0 || T == 0 || domain_T.min().item<int64_t>() >= 0);
    check(labelled || usual >= 0 || T == 0, kPlaceOfCrossModal,
          "expected the modality of each token with unlabelled = -1, got tokens without. Give "
          "domains_T and num_domains in context.tokens, or say in unlabelled which they are.");
    const auto ids = at::TensorOptions(at::kLong).device(x_TD.device());
    if (!domain_T.defined()) return at::full({T}, std::max<int64_t>(usual, 0), ids);
    return at::where(domain_T.ge(0), domain_T, std::max<int64_t>(usual, 0));
  }

  /// (M, E) bool.
  Tensor allowed_ME(at::Device device) const {
    const int64_t M = options_.modalities;
    Tensor allowed = at::zeros({M, shape_.num_experts}, at::kBool);
    for (int64_t m = 0; m < M; ++m) {
      const std::string& entry = options_.allowed[static_cast<size_t>(m)];
      if (entry.empty()) allowed[m].fill_(true);
      for (const auto& [first, last] : ranges_of(entry))
        allowed[m].slice(0, first, last + 1).fill_(true);
    }
    return allowed.to(device);
  }

  CrossModalRouter options_;
  SoftmaxRule rule_;
  int64_t width_;
  Tensor weight_EP_;
  std::shared_ptr<Projections> projections_;
};

}  // namespace

MOE_KIND(routers, cross_modal, CrossModal, CrossModalRouter)

}  // namespace moe::routing
