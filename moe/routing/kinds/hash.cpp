// T tokens, V vocabulary, E experts, K choices per token.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <moe/routing/finish.h>
#include <moe/routing/hash_table.h>
#include <moe/routing/wide_linear.h>

namespace moe::routing {

namespace {

struct HashOptions {
  std::string table = "random";
  int64_t seed = 0;
  bool per_layer = true;
  std::vector<int64_t> counts = {};
  std::string counts_file;
  std::string without_ids = "number";

  template <class Visitor>
  void fields(Visitor& v) {
    v("table", table,
      "\"random\": K experts drawn for every token id; \"modulo\": (id + j) mod E; \"balanced\": "
      "frequent ids first, each to the experts with the least load so far");
    v("seed", seed, "of the random table");
    v("per_layer", per_layer, "every layer draws a random table of its own");
    v("counts", counts, "how often each token id occurs, for the balanced table");
    v("counts_file", counts_file,
      "the same as int64 tensor \"counts\" of a safetensors file; instead of counts");
    v("without_ids", without_ids,
      "what a call without token ids does: hash the token's global \"number\" instead, or "
      "\"refuse\"; the balanced table always refuses");
  }

  void validate(const std::string&) const {
    const char* place = "routing/hash";
    check_one_of(place, "table", table, {"random", "modulo", "balanced"});
    check_one_of(place, "without_ids", without_ids, {"number", "refuse"});
    const bool listed = !counts.empty(), in_file = !counts_file.empty();
    if (table == "balanced")
      check<ConfigError>(listed != in_file, place,
                         "expected either counts or counts_file for table = \"balanced\", got ",
                         listed ? "both" : "none",
                         ". Say how often each token id occurs in the training data.");
    else
      check<ConfigError>(!listed && !in_file, place,
                         "expected no counts and no counts_file for table = \"", table,
                         "\", got some. Only the balanced table looks at them.");
  }
};

/// R6 (Roller et al. 2021): choice j of a token is the expert that table j has for its id, with
/// weight 1/K. No parameters, no logits, no scores.
///
/// Needs context.token_ids_T (T); see `without_ids`. The tables depend on options and layer only,
/// not on the seed or step of the run. The balanced table gives every id its K experts by
/// balanced_table and refuses ids that it has no count for.
class HashRouter final : public Router {
 public:
  HashRouter(const RouterShape& shape, const HashOptions& options)
      : Router(shape), options_(options) {
    if (options.table != "balanced") return;
    const auto counts =
        options.counts_file.empty() ? options.counts : read_counts(options.counts_file);
    balanced_VK_ = balanced_table(counts, shape.num_experts, shape.top_k);
  }

  Routing forward(const Tensor& x_TD, const RoutingContext& context) override {
    check_input(x_TD, shape_);
    const int64_t T = x_TD.size(0), K = shape_.top_k;
    check_padding(context, T);
    const Tensor experts_TK = lookup(token_ids(T, x_TD.device(), context), context);
    const auto type = x_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const Tensor weights_TK =
        at::full({T, K}, 1.0 / static_cast<double>(K), x_TD.options().dtype(type));
    Routing routing = fixed_choices(experts_TK, weights_TK, shape_.num_experts, context.valid_T);
    routing.first_token = context.first_token;
    return routing;
  }

 private:
  /// (T,) int64; 0 where the token is padding, whose id nobody may look at.
  Tensor token_ids(int64_t T, at::Device device, const RoutingContext& context) const {
    const Tensor& ids_T = context.token_ids_T;
    if (!ids_T.defined()) {
      check(options_.without_ids == "number" && options_.table != "balanced", "routing/hash",
            "expected token_ids_T in the context, got none. Pass the ids of the tokens, as models "
            "do, or hash the tokens' numbers: without_ids = \"number\" with another table than "
            "balanced.");
      return at::arange(context.first_token, context.first_token + T,
                        at::TensorOptions(at::kLong).device(device));
    }
    check(ids_T.dim() == 1 && ids_T.size(0) == T && ids_T.scalar_type() == at::kLong,
          "routing/hash", "expected token_ids_T to be int64 of shape [", T, "], got ",
          ids_T.scalar_type(), ' ', ids_T.sizes(), ". Flatten the ids as the tokens are.");
    return context.valid_T.defined() ? at::where(context.valid_T, ids_T, at::zeros_like(ids_T))
                                     : ids_T;
  }

  /// (T, K) int64.
  Tensor lookup(const Tensor& ids_T, const RoutingContext& context) const {
    const int64_t E = shape_.num_experts, K = shape_.top_k;
    if (options_.table == "modulo")
      return (ids_T.unsqueeze(1) + at::arange(K, ids_T.options())).remainder(E);
    if (options_.table == "random") {
      const uint32_t layer = options_.per_layer ? context.random.layer : 0;
      return random_experts(ids_T, {.seed = static_cast<uint64_t>(options_.seed), .layer = layer},
                            E, K);
    }
    const int64_t V = balanced_VK_.size(0);
    const Tensor unknown_T = ids_T.lt(0).logical_or(ids_T.ge(V));
    if (unknown_T.any().item<bool>())
      fail("routing/hash", "expected token ids in [0, ", V, "), which have counts, got ",
           ids_T.masked_select(unknown_T)[0].item<int64_t>(),
           ". Count the ids of the whole vocabulary.");
    return balanced_VK_.to(ids_T.device()).index_select(0, ids_T);
  }

  HashOptions options_;
  Tensor balanced_VK_;
};

}  // namespace

}  // namespace moe::routing

MOE_ROUTER(hash, HashRouter, HashOptions)
