// W ranks, T tokens, N pairs, M of them kept, E experts, S slots of experts on ranks, L experts on
// this rank, R rows for them, D width, O output width.

#include <numeric>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/dispatch/expert_slots.h>
#include <moe/dispatch/sorted_pairs.h>
#include <moe/ops/order.h>
#include <moe/ops/rows.h>
#include <moe/parallel/collectives.h>

namespace moe::dispatch {

namespace {

constexpr std::string_view kAllToAll = "dispatch/all_to_all";

std::vector<int64_t> numbers_of(const Tensor& values) {
  const Tensor here = values.contiguous();
  const int64_t* data = here.const_data_ptr<int64_t>();
  return {data, data + here.numel()};
}

/// ExpertSlots says which rank holds which experts: by the order of their numbers, or as a
/// placement has them. Sorted pairs lie behind one another by rank, so each rank's part is sent as
/// it is. Rows arrive by source rank, then expert; experts read them through an index, so that they
/// are not moved again. The order within an expert is (rank, token): that of one rank that has all
/// tokens.
///
/// Two collectives in plan (counts, token numbers), one each in dispatch and combine and in their
/// backward passes; rows of dropped pairs stay at home.
class AllToAllDispatcher final : public Dispatcher {
 public:
  AllToAllDispatcher(const DispatcherShape& shape, const NoOptions&)
      : group_(checked(shape.group)),
        slots_(shape.num_experts, *group_, shape.placement, kAllToAll) {}

  DispatchPlan plan(const Routing& routing) const override {
    DispatchPlan plan = sort_pairs(slots_.by_slot(routing, kAllToAll), slots_.slots(), kAllToAll);
    const int64_t W = group_->size(), L = slots_.held_W()[static_cast<size_t>(group_->rank())];
    const Tensor sent_S = plan.offsets_E.slice(0, 1) - plan.offsets_E.slice(0, 0, -1);
    const Tensor received_WL = group_->all_to_all_v(
        sent_S, slots_.held_W(), std::vector<int64_t>(static_cast<size_t>(W), L));

    auto exchange = std::make_shared<Exchange>();
    // The only wait for the device: sizes have to be known before rows can travel.
    const Tensor begin_W1 =
        plan.offsets_E.index_select(0, at::tensor(slots_.begin_W1(), plan.offsets_E.options()));
    const std::vector<int64_t> sizes = numbers_of(
        at::cat({begin_W1.slice(0, 1) - begin_W1.slice(0, 0, -1), received_WL.view({W, L}).sum(1)})
            .to(at::kCPU));
    exchange->send = {sizes.begin(), sizes.begin() + W};
    exchange->receive = {sizes.begin() + W, sizes.end()};

    const Tensor expert_WL = at::arange(L, received_WL.options()).repeat({W});
    const Tensor arrived_R = at::repeat_interleave(expert_WL, received_WL, /*dim=*/0,
                                                   /*output_size=*/total(exchange->receive));
    const ops::Order order = ops::counting_sort(arrived_R, L);
    exchange->expert_order_R = order.order_N;
    exchange->arrival_order_R = order.position_N;
    plan.offsets_L = order.offsets_E;

    const Tensor token_M = plan.token_N.slice(0, 0, total(exchange->send)) + routing.first_token;
    plan.token_R = group_->all_to_all_v(token_M, exchange->send, exchange->receive)
                       .index_select(0, exchange->expert_order_R);
    plan.exchange = std::move(exchange);
    return plan;
  }

  ExpertRows dispatch(const Tensor& x_TD, const Routing& routing,
                      const DispatchPlan& plan) const override {
    check_input(x_TD, routing, kAllToAll);
    const Exchange& exchange = *plan.exchange;
    const Tensor rows_MD = gather_pairs(x_TD, routing, plan, total(exchange.send));
    const Tensor arrived_RD =
        parallel::all_to_all_rows(rows_MD, exchange.send, exchange.receive, group_);
    return {arrived_RD, exchange.expert_order_R, plan.offsets_L, plan.token_R};
  }

  Tensor combine(const Tensor& out_RO, const Routing& routing,
                 const DispatchPlan& plan) const override {
    const Exchange& exchange = *plan.exchange;
    const Tensor arrival_RO = ops::gather_rows(out_RO, exchange.arrival_order_R);
    const Tensor back_MO =
        parallel::all_to_all_rows(arrival_RO, exchange.receive, exchange.send, group_);
    return ops::combine_rows(back_MO, combination_of(routing, plan));
  }

  std::vector<int64_t> local_experts() const override { return slots_.experts_of(group_->rank()); }

 private:
  static std::shared_ptr<parallel::Communicator> checked(
      std::shared_ptr<parallel::Communicator> group) {
    check<ConfigError>(group != nullptr, kAllToAll,
                       "expected a group, got none. Pass parallel::local() for one rank.");
    return group;
  }
  static int64_t total(const std::vector<int64_t>& counts) {
    return std::accumulate(counts.begin(), counts.end(), int64_t{0});
  }

  const std::shared_ptr<parallel::Communicator> group_;
  const ExpertSlots slots_;
};

}  // namespace

MOE_KIND(dispatchers, all_to_all, AllToAllDispatcher, NoOptions)

}  // namespace moe::dispatch
