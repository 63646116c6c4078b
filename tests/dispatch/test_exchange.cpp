// Rows that travel in chunks and in fewer bits, against one chunk, one rank and the naive layer.
// W ranks, C chunks, T tokens, E experts, L experts on this rank, R rows, D width, O output width.

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/custom_function.h>

#include <moe/dispatch/dispatcher.h>
#include <moe/parallel/collectives.h>
#include <moe/parallel/layout.h>
#include <moe/parallel/threads.h>

#include "tests/dispatch/scenarios.h"
#include "tests/support/forwarding_group.h"
#include "tests/support/message_of.h"

namespace moe::test::exchange_test {
namespace {

using at::Tensor;
using dispatching::kExperts;
using dispatching::kWidth;
using parallel::run_ranks;
using Group = std::shared_ptr<parallel::Communicator>;

struct Gradients {
  Tensor y_TO, x_TD, weights_N, w_EOD;

  std::vector<Tensor> all() const { return {y_TO, x_TD, weights_N, w_EOD}; }
};

Tensor leaf(const Tensor& values) {
  return values.clone().set_requires_grad(true);
}

Tensor gradient_of(const Tensor& tensor) {
  return tensor.grad().defined() ? tensor.grad() : at::zeros_like(tensor);
}

/// Tokens 0 .. bounds[1] on rank 0, and so on.
using Bounds = std::vector<int64_t>;

std::vector<Bounds> bounds_of(int64_t tokens, int64_t ranks) {
  Bounds even(ranks + 1), last_only(ranks + 1, 0);
  for (int64_t w = 0; w <= ranks; ++w) even[w] = w * tokens / ranks;
  last_only[ranks] = tokens;
  return {even, last_only};
}

parallel::ExchangeSettings settings_of(int64_t chunks,
                                       parallel::RowFormat format = parallel::RowFormat::kFull) {
  return {.format = format, .chunks = std::make_shared<parallel::Chunks>(chunks)};
}

/// This rank's part of output and gradients of sum(y * coefficient).
Gradients differentiate(const Group& group, const parallel::ExchangeSettings& settings,
                        const Routing& routing, const Bounds& bounds, const Tensor& x_TD,
                        const Tensor& w_EOD, const Tensor& coefficient_TO,
                        const LayerContext& context = {}) {
  const int64_t begin = bounds[group->rank()], end = bounds[group->rank() + 1];
  const auto dispatcher =
      dispatch::dispatchers().at("all_to_all").make({kExperts, group, settings}, {});
  const auto [first, L] = parallel::share_of(kExperts, group->size(), group->rank());
  Routing mine = dispatching::part_of(routing, begin, end);
  const Tensor x = leaf(x_TD.slice(0, begin, end)), w = leaf(w_EOD.slice(0, first, first + L)),
               weights = leaf(mine.weights_N);
  mine.weights_N = weights;
  const auto experts = [&](const ExpertRows& rows) {
    if (w.size(0) > 0) return dispatching::forward(rows, w);
    return rows.source_SD.slice(0, 0, 0).sum().expand({0, w.size(1)});
  };
  const Tensor y_TO = dispatcher->through(experts, x, mine, dispatcher->plan(mine), context);
  (y_TO * coefficient_TO.slice(0, begin, end)).sum().backward();
  return {y_TO.detach(), gradient_of(x), gradient_of(weights), gradient_of(w)};
}

/// What `differentiate` must give on rank `rank` of `ranks`, of one rank's.
Gradients part_of(const Gradients& whole, const Routing& routing, const Bounds& bounds,
                  int64_t rank, int64_t ranks) {
  const int64_t begin = bounds[rank], end = bounds[rank + 1];
  const auto [first, L] = parallel::share_of(kExperts, ranks, rank);
  return {whole.y_TO.slice(0, begin, end), whole.x_TD.slice(0, begin, end),
          whole.weights_N.slice(0, routing.offsets[begin].item<int64_t>(),
                                routing.offsets[end].item<int64_t>()),
          whole.w_EOD.slice(0, first, first + L)};
}

double worst(const Gradients& a, const Gradients& b) {
  double out = 0;
  for (size_t i = 0; i < 4; ++i) {
    const Tensor x = a.all()[i], y = b.all()[i];
    EXPECT_EQ(x.sizes(), y.sizes());
    if (x.numel() > 0) out = std::max(out, (x - y).abs().max().item<double>());
  }
  return out;
}

bool same_bits(const Gradients& a, const Gradients& b) {
  for (size_t i = 0; i < 4; ++i)
    if (!a.all()[i].equal(b.all()[i])) return false;
  return true;
}

struct Inputs {
  Tensor x_TD, w_EOD, coefficient_TO;

  explicit Inputs(int64_t tokens)
      : x_TD(normal({tokens, kWidth}, 3)),
        w_EOD(normal({kExperts, 4, kWidth}, 4)),
        coefficient_TO(normal({tokens, 4}, 5)) {}
};

TEST(Chunked, AnyNumberGivesTheBitsOfOneAndTheNaiveLayersNumbers) {
  for (auto [name, routing] : dispatching::loads())
    for (const bool weight_on_input : {false, true}) {
      routing.weight_on_input = weight_on_input;
      routing.first_token = 100;
      const Inputs in(routing.tokens());
      const Tensor x = leaf(in.x_TD), w = leaf(in.w_EOD), weights = leaf(routing.weights_N);
      Routing routed = routing;
      routed.weights_N = weights;
      const Tensor y_TO = dispatching::naive(x, routed, w);
      if (y_TO.requires_grad()) (y_TO * in.coefficient_TO).sum().backward();
      const Gradients naive = {y_TO.detach(), gradient_of(x), gradient_of(weights), gradient_of(w)};
      // More ranks than experts, too: the last have none.
      for (const int64_t W : {int64_t{1}, int64_t{2}, int64_t{3}, int64_t{5}, kExperts + 2})
        for (const auto& bounds : bounds_of(routing.tokens(), W)) {
          SCOPED_TRACE(concat(name, ", ", W, " ranks, ", bounds[1], " tokens on the first",
                              weight_on_input ? ", weight on input" : ""));
          run_ranks(W, [&](const Group& group) {
            const auto run = [&](int64_t chunks) {
              return differentiate(group, settings_of(chunks), routing, bounds, in.x_TD, in.w_EOD,
                                   in.coefficient_TO);
            };
            const Gradients one = run(1);
            EXPECT_LE(worst(one, part_of(naive, routing, bounds, group->rank(), W)), 1e-12);
            for (const int64_t chunks : {2, 3, 5, 100})
              EXPECT_TRUE(same_bits(run(chunks), one)) << chunks << " chunks";
          });
        }
    }
}

TEST(Chunked, EveryExpertIsInOneChunkWithAllItsRows) {
  const Routing routing = dispatching::ragged(23);
  run_ranks(2, [&](const Group& group) {
    const auto dispatcher =
        dispatch::dispatchers().at("all_to_all").make({kExperts, group, settings_of(4)}, {});
    const DispatchPlan plan = dispatcher->plan(routing);
    ASSERT_EQ(plan.exchange->chunks.size(), 4);  // of 6 experts: 2, 2, 1, 1
    const Tensor counts_L = plan.offsets_L.diff();
    EXPECT_EQ(plan.token_R.size(0), counts_L.sum().item<int64_t>());
    int64_t expert = 0, row = 0;
    for (const auto& chunk : plan.exchange->chunks) {
      const Tensor here_L = chunk.offsets_L.diff();
      const int64_t held = expert < 4 ? 2 : 1, rows = chunk.token_R.size(0);
      for (int64_t e = 0; e < 6; ++e)
        EXPECT_EQ(here_L[e].item<int64_t>(),
                  e >= expert && e < expert + held ? counts_L[e].item<int64_t>() : 0);
      EXPECT_TRUE(chunk.token_R.equal(plan.token_R.slice(0, row, row + rows)));
      expert += held;
      row += rows;
    }
    EXPECT_ERROR(dispatcher->dispatch(at::zeros({23, kWidth}), routing, plan),
                 "expected a plan of one chunk to dispatch or combine at once, got one of 4");
  });
}

/// Counts the exchanges that were started.
class StartsCounted final : public ForwardingGroup {
 public:
  using ForwardingGroup::ForwardingGroup;
  parallel::Started start_all_to_all_v(const Tensor& rows, const std::vector<int64_t>& send,
                                       const std::vector<int64_t>& receive) override {
    ++started;
    return ForwardingGroup::start_all_to_all_v(rows, send, receive);
  }
  int64_t started = 0;
};

/// Writes down how many exchanges had begun when its backward pass runs.
struct Watched : torch::autograd::Function<Watched> {
  struct Log : torch::CustomClassHolder {
    std::shared_ptr<StartsCounted> group;
    std::vector<int64_t> begun;
  };
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& rows,
                        const c10::intrusive_ptr<Log>& log) {
    context->saved_data["log"] = c10::IValue::make_capsule(log);
    return rows.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto log =
        c10::static_intrusive_pointer_cast<Log>(context->saved_data["log"].toCapsule());
    log->begun.push_back(log->group->started);
    return {gradients[0], Tensor()};
  }
};

TEST(Chunked, TheNextRowsTravelWhileExpertsComputeThereAndBack) {
  const Routing routing = dispatching::ragged(23);
  const Tensor x_TD = normal({23, kWidth}, 3);
  run_ranks(2, [&](const Group& plain) {
    const auto group = std::make_shared<StartsCounted>(plain);
    const auto dispatcher =
        dispatch::dispatchers().at("all_to_all").make({kExperts, group, settings_of(3)}, {});
    const auto log = c10::make_intrusive<Watched::Log>();
    log->group = group;
    std::vector<int64_t> begun;
    const auto experts = [&](const ExpertRows& rows) {
      begun.push_back(group->started);
      return Watched::apply(rows.source_SD.index_select(0, rows.index_R), log);
    };
    const Tensor y_TD =
        dispatcher->through(experts, leaf(x_TD), routing, dispatcher->plan(routing), {});
    // The rows of chunks 0 and 1; then of chunk 2, and the results of chunk 0; then of chunk 1.
    EXPECT_EQ(begun, (std::vector<int64_t>{2, 4, 5}));
    EXPECT_EQ(group->started, 6);
    y_TD.sum().backward();
    // Backwards all gradients of results set out at once; chunk 2 computes while those of the
    // others travel, and so on.
    EXPECT_EQ(log->begun, (std::vector<int64_t>{9, 10, 11}));
    EXPECT_EQ(group->started, 12);
  });
}

TEST(InFewerBits, ResultsDoNotDependOnRanksOrChunks) {
  const Routing routing = dispatching::ragged(23);
  const Inputs in(23);
  for (const auto format :
       {parallel::RowFormat::kBFloat16, parallel::RowFormat::kFloat8, parallel::RowFormat::kInt8}) {
    const auto on_one = [&](const parallel::ExchangeSettings& settings) {
      return differentiate(parallel::local(), settings, routing, {0, 23}, in.x_TD, in.w_EOD,
                           in.coefficient_TO);
    };
    const Gradients one = on_one(settings_of(1, format)), full = on_one(settings_of(1));
    // It does round, and not by much.
    const double apart = worst(one, full);
    EXPECT_GT(apart, 1e-4);
    EXPECT_LT(apart, 2);
    for (const int64_t W : {1, 2, 3, 5})
      for (const int64_t chunks : {1, 3})
        for (const auto& bounds : bounds_of(23, W))
          run_ranks(W, [&](const Group& group) {
            LayerContext context;
            context.layer = 7;
            context.exchange_errors = std::make_shared<ExchangeErrors>();
            const Gradients mine =
                differentiate(group, settings_of(chunks, format), routing, bounds, in.x_TD,
                              in.w_EOD, in.coefficient_TO, context);
            EXPECT_LE(worst(mine, part_of(one, routing, bounds, group->rank(), W)), 1e-12);
            // Counted on all ranks, also on those that send nothing.
            Tensor sums = context.exchange_errors->sums();
            ASSERT_EQ(sums.size(0), 2);
            group->all_reduce(sums);
            const auto found = context.exchange_errors->by_layer(sums).at(7);
            EXPECT_GT(found.forward.cosine, 0.99);
            EXPECT_GT(found.backward.cosine, 0.99);
            EXPECT_GT(found.forward.relative, 1e-4);
            EXPECT_LT(found.backward.relative, 0.1);
          });
  }
}

TEST(InFewerBits, IsRefusedWhereNoRowsTravel) {
  EXPECT_ERROR(dispatch::dispatchers().at("local").make(
                   {kExperts, parallel::local(), settings_of(1, parallel::RowFormat::kInt8)}, {}),
               "expected rows in full, since none travel, got parallel.exchange with fewer bits");
}

}  // namespace
}  // namespace moe::test::exchange_test
