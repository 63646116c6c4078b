// T tokens, V vocabulary, E experts, K choices per token.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include <moe/routing/hash_table.h>
#include <moe/routing/kinds/hash.h>
#include <moe/routing/wide_linear.h>

namespace moe {

void HashRouter::validate(const std::string&) const {
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

}  // namespace moe

namespace moe::routing {

namespace {

/// Roller et al. 2021: choice j of a token is the expert that table j has for its id, with weight
/// 1/K. No parameters, no logits, no scores.
///
/// Needs the ids of context.tokens; see `without_ids`. The tables depend on options and layer only,
/// not on the seed or step of the run. The balanced table gives every id its K experts by
/// balanced_table and refuses ids that it has no count for; it is the buffer "table" (V, K) int64.
///
/// counts_file is read once, when a model starts. From then on the table is a part of the model: it
/// has no rows until it is made or loaded, so that a checkpoint needs no other file. A router with
/// fewer choices than its table takes the first ones of each id.
class Hash final : public Router {
 public:
  Hash(const RouterShape& shape, const HashRouter& options) : Router(shape), options_(options) {
    if (options.table != "balanced") return;
    const auto make = [options, E = shape.num_experts, K = shape.top_k](const Tensor& table_VK,
                                                                        const RandomStream&) {
      const auto counts =
          options.counts_file.empty() ? options.counts : read_counts(options.counts_file);
      const Tensor made_VK = balanced_table(counts, E, K);
      table_VK.resize_(made_VK.sizes()).copy_(made_VK);
    };
    table_VK_ = add_buffer("table", {0, shape.top_k}, at::kLong, {.start = make});
  }

  Routing forward(const Tensor& x_TD, const LayerContext& context) override {
    check_input(x_TD, shape_);
    const int64_t T = x_TD.size(0), K = shape_.top_k;
    const Tensor experts_TK = lookup(token_ids(T, x_TD.device(), context.tokens), context);
    const auto type = x_TD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    const Tensor weights_TK =
        at::full({T, K}, 1.0 / static_cast<double>(K), x_TD.options().dtype(type));
    Routing routing = fixed_choices(experts_TK, weights_TK, shape_.num_experts);
    routing.first_token = context.tokens.first_token;
    routing.weights_are_shares = true;
    return routing;
  }

 private:
  /// (T,) int64.
  Tensor token_ids(int64_t T, at::Device device, const TokenList& tokens) const {
    const Tensor& ids_T = tokens.ids_T;
    if (!ids_T.defined()) {
      check(options_.without_ids == "number" && options_.table != "balanced", "routing/hash",
            "expected the ids of the tokens in the context, got none. Pass them (tokens.ids_T), as "
            "models do, or hash the tokens' numbers: without_ids = \"number\" with another table "
            "than balanced.");
      return at::arange(tokens.first_token, tokens.first_token + T,
                        at::TensorOptions(at::kLong).device(device));
    }
    check(ids_T.dim() == 1 && ids_T.size(0) == T && ids_T.scalar_type() == at::kLong,
          "routing/hash", "expected token ids of type int64 and shape [", T, "], got ",
          ids_T.scalar_type(), ' ', ids_T.sizes(), ". Give one id for each token.");
    return ids_T;
  }

  /// (T, K) int64.
  Tensor lookup(const Tensor& ids_T, const LayerContext& context) const {
    const int64_t E = shape_.num_experts, K = shape_.top_k;
    if (options_.table == "modulo")
      return (ids_T.unsqueeze(1) + at::arange(K, ids_T.options())).remainder(E);
    if (options_.table == "random") {
      const uint32_t layer = options_.per_layer ? context.random.layer : 0;
      return random_experts(ids_T, {.seed = static_cast<uint64_t>(options_.seed), .layer = layer},
                            E, K);
    }
    check_table();
    const int64_t V = table_VK_.size(0);
    const Tensor unknown_T = ids_T.lt(0).logical_or(ids_T.ge(V));
    if (unknown_T.any().item<bool>())
      fail("routing/hash", "expected token ids in [0, ", V, "), which have counts, got ",
           ids_T.masked_select(unknown_T)[0].item<int64_t>(),
           ". Count the ids of the whole vocabulary.");
    const Tensor experts_TK = table_VK_.index_select(0, ids_T).narrow(1, 0, K).to(at::kLong);
    const Tensor strange_TK = experts_TK.lt(0).logical_or(experts_TK.ge(E));
    check(!strange_TK.any().item<bool>(), "routing/hash", "expected a table of experts in [0, ", E,
          "), got others. The checkpoint is damaged or another model's: use another.");
    return experts_TK;
  }

  /// What was loaded, or converted by a program, may be anything.
  void check_table() const {
    const auto type = table_VK_.scalar_type();
    check(type == at::kLong || type == at::kDouble || type == at::kFloat, "routing/hash",
          "expected a table that holds every expert's number, got one of type ", type,
          ". Convert parameters only.");
    check(table_VK_.size(0) > 0, "routing/hash",
          "expected a table with the experts of every id, got an empty one. Initialise the router, "
          "or load a checkpoint that has it.");
    check(table_VK_.size(1) >= shape_.top_k, "routing/hash", "expected at most the ",
          table_VK_.size(1),
          " experts an id that the table was made with, got top_k=", shape_.top_k,
          ". Lower top_k.");
  }

  HashRouter options_;
  Tensor table_VK_;
};

}  // namespace

MOE_KIND(routers, hash, Hash, HashRouter)

}  // namespace moe::routing
