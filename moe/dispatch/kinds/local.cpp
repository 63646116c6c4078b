// T tokens, N pairs, E experts, D width, O output width.

#include <numeric>

#include <moe/base/error.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/dispatch/sorted_pairs.h>

namespace moe::dispatch {

namespace {

constexpr std::string_view kLocal = "dispatch/local";

/// All experts are here: rows are tokens by index, and nothing is copied unless weights belong on
/// the input.
class LocalDispatcher final : public Dispatcher {
 public:
  LocalDispatcher(const DispatcherShape& shape, const NoOptions&) : experts_(shape.num_experts) {
    check<ConfigError>(shape.group && shape.group->size() == 1, kLocal,
                       "expected a group of one rank, got ",
                       shape.group ? concat(shape.group->size(), " ranks") : "no group",
                       ". Use dispatcher 'all_to_all' for more ranks, or pass parallel::local().");
    check<ConfigError>(!shape.placement || (shape.placement->ranks() == 1 &&
                                            shape.placement->experts() == experts_),
                       kLocal, "expected no placement, or one of ", experts_,
                       " experts on one rank, got another. Leave it out.");
    check<ConfigError>(shape.exchange.format == parallel::RowFormat::kFull, kLocal,
                       "expected rows in full, since none travel, got parallel.exchange with fewer "
                       "bits. Use dispatcher 'all_to_all', or leave it out.");
  }

  DispatchPlan plan(const Routing& routing) const override {
    DispatchPlan plan = sort_pairs(routing, experts_, kLocal);
    plan.offsets_L = plan.offsets_E;
    plan.token_R = routing.first_token == 0 ? plan.token_N : plan.token_N + routing.first_token;
    return plan;
  }

  ExpertRows dispatch(const Tensor& x_TD, const Routing& routing,
                      const DispatchPlan& plan) const override {
    check_input(x_TD, routing, kLocal);
    if (!routing.weight_on_input) return {x_TD, plan.token_N, plan.offsets_L, plan.token_R};
    return {gather_pairs(x_TD, routing, plan, routing.pairs()), Tensor(), plan.offsets_L,
            plan.token_R};
  }

  Tensor combine(const Tensor& out_NO, const Routing& routing,
                 const DispatchPlan& plan) const override {
    return ops::combine_rows(out_NO, combination_of(routing, plan));
  }

  std::optional<ops::Combination> combination(const Routing& routing,
                                              const DispatchPlan& plan) const override {
    return combination_of(routing, plan);
  }

  std::vector<int64_t> local_experts() const override {
    std::vector<int64_t> out(static_cast<size_t>(experts_));
    std::iota(out.begin(), out.end(), int64_t{0});
    return out;
  }

 private:
  const int64_t experts_;
};

}  // namespace

MOE_KIND(dispatchers, local, LocalDispatcher, NoOptions)

}  // namespace moe::dispatch
