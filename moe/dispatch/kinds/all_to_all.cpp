// W ranks, C chunks, T tokens, N pairs, M of them kept, E experts, S slots of experts on ranks, L
// experts on this rank, R rows for them, D width, O output width.

#include <algorithm>
#include <numeric>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/dispatch/chunked_rows.h>
#include <moe/dispatch/dispatcher.h>
#include <moe/dispatch/expert_slots.h>
#include <moe/dispatch/sorted_pairs.h>
#include <moe/ops/order.h>
#include <moe/ops/rows.h>
#include <moe/parallel/collectives.h>
#include <moe/parallel/layout.h>

namespace moe::dispatch {

namespace {

constexpr std::string_view kAllToAll = "dispatch/all_to_all";

std::vector<int64_t> numbers_of(const Tensor& values) {
  const Tensor here = values.to(at::kCPU).contiguous();
  const int64_t* data = here.const_data_ptr<int64_t>();
  return {data, data + here.numel()};
}

int64_t total(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

/// ExpertSlots says which rank holds which experts: by the order of their numbers, or as a
/// placement has them. Sorted pairs lie behind one another by rank, so each rank's part is sent as
/// it is. Rows arrive by source rank, then expert; experts read them through an index, so that they
/// are not moved again. The order within an expert is (rank, token): that of one rank that has all
/// tokens.
///
/// In C chunks, chunk c has the experts share_of(L, C, c) of each rank. While they compute, the
/// rows of chunk c + 1 travel, and results of chunk c - 1 travel back; in the backward pass
/// gradients do. Every expert computes all of its rows at once, and rows are put back in the sorted
/// order before tokens add them: outputs and gradients are the same bits for any C.
///
/// Two collectives in plan (counts, token numbers), one a chunk each in dispatch and combine and in
/// their backward passes; rows of dropped pairs stay at home.
class AllToAllDispatcher final : public Dispatcher {
 public:
  AllToAllDispatcher(const DispatcherShape& shape, const NoOptions&)
      : group_(checked(shape.group)),
        settings_(shape.exchange),
        slots_(shape.num_experts, *group_, shape.placement, kAllToAll),
        held_(slots_.held_W()[static_cast<size_t>(group_->rank())]) {
    if (settings_.chunks) settings_.chunks->hold(most_held());
  }

  DispatchPlan plan(const Routing& routing) const override {
    DispatchPlan plan = sort_pairs(slots_.by_slot(routing, kAllToAll), slots_.slots(), kAllToAll);
    const int64_t W = group_->size(), L = held_, C = chunks();
    const Tensor sent_S = plan.offsets_E.slice(0, 1) - plan.offsets_E.slice(0, 0, -1);
    const Tensor received_WL =
        group_
            ->all_to_all_v(sent_S, slots_.held_W(), std::vector<int64_t>(static_cast<size_t>(W), L))
            .view({W, L});

    // The only wait for the device: sizes have to be known before rows can travel.
    const Tensor begin =
        plan.offsets_E.index_select(0, at::tensor(first_experts(C), plan.offsets_E.options()));
    std::vector<Tensor> sizes = {begin.slice(0, 1) - begin.slice(0, 0, -1)};
    for (int64_t c = 0; c < C; ++c) sizes.push_back(of_chunk(received_WL, c, C).sum(1));
    const BlockSizes blocks(numbers_of(at::cat(sizes)), W, C);

    auto exchange = std::make_shared<Exchange>();
    const Tensor token_M = plan.token_N.slice(0, 0, total(blocks.sent())) + routing.first_token;
    const auto token_C = chunks_of(group_->all_to_all_v(token_M, blocks.sent(), blocks.received()),
                                   blocks.received_blocks(), C);
    for (int64_t c = 0; c < C; ++c) {
      ExchangedChunk& chunk = exchange->chunks.emplace_back();
      chunk.send = blocks.sent(c);
      chunk.receive = blocks.received(c);
      const parallel::Range experts = parallel::share_of(L, C, c);
      const Tensor expert_R = at::repeat_interleave(
          at::arange(experts.first, experts.end(), received_WL.options()).repeat({W}),
          of_chunk(received_WL, c, C).reshape({-1}), /*dim=*/0,
          /*output_size=*/total(chunk.receive));
      const ops::Order order = ops::counting_sort(expert_R, L);
      chunk.expert_order_R = order.order_N;
      chunk.arrival_order_R = order.position_N;
      chunk.offsets_L = order.offsets_E;
      chunk.token_R = token_C[static_cast<size_t>(c)].index_select(0, order.order_N);
      plan.offsets_L = c == 0 ? chunk.offsets_L : plan.offsets_L + chunk.offsets_L;
    }
    std::vector<Tensor> token_R;
    for (const auto& chunk : exchange->chunks) token_R.push_back(chunk.token_R);
    plan.token_R = at::cat(token_R);
    plan.exchange = std::move(exchange);
    return plan;
  }

  ExpertRows dispatch(const Tensor& x_TD, const Routing& routing,
                      const DispatchPlan& plan) const override {
    const ExchangedChunk& chunk = only_chunk(plan);
    return rows_of(chunk,
                   start(sent_rows(x_TD, routing, plan), chunk.send, chunk.receive, {}).wait());
  }

  Tensor combine(const Tensor& out_RO, const Routing& routing,
                 const DispatchPlan& plan) const override {
    return ops::combine_rows(start_back(out_RO, only_chunk(plan), {}).wait(),
                             combination_of(routing, plan));
  }

  Tensor through(const RunExperts& experts, const Tensor& x_TD, const Routing& routing,
                 const DispatchPlan& plan, const LayerContext& context) const override {
    const auto& chunks = plan.exchange->chunks;
    const auto C = static_cast<int64_t>(chunks.size());
    const auto blocks = blocks_of(chunks);
    const std::vector<Tensor> sent_C = chunks_of(sent_rows(x_TD, routing, plan), blocks, C);
    const auto set_out = [&](size_t c) {
      return start(sent_C[c], chunks[c].send, chunks[c].receive, context);
    };
    std::vector<parallel::RowsUnderWay> there = {set_out(0)}, back;
    for (size_t c = 0; c < chunks.size(); ++c) {
      if (c + 1 < chunks.size()) there.push_back(set_out(c + 1));
      const Tensor out_RO = experts(rows_of(chunks[c], there[c].wait()));
      back.push_back(start_back(out_RO, chunks[c], context));
    }
    std::vector<Tensor> back_C;
    for (auto& rows : back) back_C.push_back(rows.wait());
    return ops::combine_rows(in_order(back_C, blocks), combination_of(routing, plan));
  }

  std::vector<int64_t> local_experts() const override { return slots_.experts_of(group_->rank()); }

 private:
  static std::shared_ptr<parallel::Communicator> checked(
      std::shared_ptr<parallel::Communicator> group) {
    check<ConfigError>(group != nullptr, kAllToAll,
                       "expected a group, got none. Pass parallel::local() for one rank.");
    return group;
  }

  int64_t most_held() const { return std::ranges::max(slots_.held_W()); }

  /// Chunks without experts on any rank are left out.
  int64_t chunks() const {
    const int64_t wanted = settings_.chunks ? settings_.chunks->now() : 1;
    return std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, most_held()));
  }

  /// The first slot of each chunk of each rank, by rank, and S: WC + 1 numbers.
  std::vector<int64_t> first_experts(int64_t C) const {
    std::vector<int64_t> out;
    int64_t first = 0;
    for (const int64_t held : slots_.held_W()) {
      for (int64_t c = 0; c < C; ++c) out.push_back(first + parallel::share_of(held, C, c).first);
      first += held;
    }
    out.push_back(first);
    return out;
  }

  /// The columns of a chunk's experts.
  Tensor of_chunk(const Tensor& values_WL, int64_t c, int64_t C) const {
    const parallel::Range experts = parallel::share_of(held_, C, c);
    return values_WL.narrow(1, experts.first, experts.count);
  }

  static const ExchangedChunk& only_chunk(const DispatchPlan& plan) {
    check(plan.exchange && plan.exchange->chunks.size() == 1, kAllToAll,
          "expected a plan of one chunk to dispatch or combine at once, got one of ",
          plan.exchange ? plan.exchange->chunks.size() : 0, ". Call through().");
    return plan.exchange->chunks.front();
  }

  /// (M, D) in the order of the sorted pairs.
  static Tensor sent_rows(const Tensor& x_TD, const Routing& routing, const DispatchPlan& plan) {
    check_input(x_TD, routing, kAllToAll);
    int64_t kept = 0;
    for (const auto& chunk : plan.exchange->chunks) kept += total(chunk.send);
    return gather_pairs(x_TD, routing, plan, kept);
  }

  static ExpertRows rows_of(const ExchangedChunk& chunk, const Tensor& arrived_RD) {
    return {arrived_RD, chunk.expert_order_R, chunk.offsets_L, chunk.token_R};
  }

  parallel::RowsUnderWay start(const Tensor& rows, const std::vector<int64_t>& send,
                               const std::vector<int64_t>& receive,
                               const LayerContext& context) const {
    return parallel::start_rows(rows, {.send = send,
                                       .receive = receive,
                                       .group = group_,
                                       .format = settings_.format,
                                       .errors = context.exchange_errors,
                                       .entry = {.layer = context.layer}});
  }

  parallel::RowsUnderWay start_back(const Tensor& out_RO, const ExchangedChunk& chunk,
                                    const LayerContext& context) const {
    return start(ops::gather_rows(out_RO, chunk.arrival_order_R), chunk.receive, chunk.send,
                 context);
  }

  const std::shared_ptr<parallel::Communicator> group_;
  const parallel::ExchangeSettings settings_;
  const ExpertSlots slots_;
  const int64_t held_;  // experts of this rank
};

}  // namespace

MOE_KIND(dispatchers, all_to_all, AllToAllDispatcher, NoOptions)

}  // namespace moe::dispatch
