// Gradients that are added while the backward pass goes on, against those added behind it. W ranks.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <moe/parallel/gradients.h>
#include <moe/parallel/threads.h>

#include "tests/support/forwarding_group.h"
#include "tests/support/gradcheck.h"
#include "tests/support/message_of.h"

namespace moe::test::gradient_sums_test {
namespace {

using at::Tensor;
using parallel::GradientSums;
using parallel::Layout;
using parallel::run_ranks;
using Group = std::shared_ptr<parallel::Communicator>;

/// Some parameters of every sort: replicated and of experts, tied, frozen, and one that rank 0
/// alone uses.
Parameters parameters_of(const Layout& layout) {
  const auto learning = [](int64_t rows, uint64_t seed) {
    return normal({rows, 3}, seed).set_requires_grad(true);
  };
  const auto [first, L] = layout.experts_of(4);
  const ParameterInfo of_experts = {
      .per_expert = true, .sharded = true, .first_expert = first, .whole = 4};
  const Tensor tied = learning(2, 1);
  return {{"embedding", tied, {}},           {"a", learning(4, 2), {}},
          {"frozen", normal({2, 3}, 3), {}}, {"experts", learning(L, 4), of_experts},
          {"rank_0", learning(2, 5), {}},    {"b", learning(1, 6), {}},
          {"nobody", learning(1, 7), {}},    {"head", tied, {}}};
}

Tensor loss_of(const Parameters& parameters, int64_t rank, int64_t micro_batch) {
  Tensor sum = at::zeros({}, at::kDouble);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, tensor, info] = parameters[i];
    if (name == "nobody" || (name == "rank_0" && rank != 0)) continue;
    sum = sum +
          (tensor.tanh() * normal(tensor.sizes(), 100 * (rank + 1) + 10 * micro_batch + i)).sum();
  }
  return sum;
}

std::vector<Tensor> gradients_of(const Parameters& parameters) {
  std::vector<Tensor> out;
  for (const auto& [name, tensor, info] : parameters)
    out.push_back(tensor.grad().defined() ? tensor.grad().clone() : Tensor());
  return out;
}

TEST(GradientSums, HaveTheBitsOfThoseAddedBehindThePass) {
  for (const auto& [W, experts] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {2, 2}, {3, 1}, {4, 2}})
    for (const int64_t bucket_bytes : {int64_t{1}, int64_t{150}, parallel::kBucketBytes})
      run_ranks(W, [&, X = experts](const Group& world) {
        const Layout layout = Layout::of(world, X);
        const auto run = [&](bool overlapped) {
          const Parameters parameters = parameters_of(layout);
          std::optional<GradientSums> sums;
          if (overlapped) sums.emplace(parameters, layout, bucket_bytes);
          std::vector<std::vector<Tensor>> out;
          for (int64_t step = 0; step < 2; ++step) {
            for (int64_t micro_batch = 0; micro_batch < 3; ++micro_batch) {
              if (sums && micro_batch == 2) sums->begin();
              loss_of(parameters, world->rank(), 3 * step + micro_batch).backward();
            }
            if (sums)
              sums->finish();
            else
              parallel::reduce_gradients(parameters, layout);
            out.push_back(gradients_of(parameters));
            for (const auto& parameter : parameters) parameter.tensor.mutable_grad() = Tensor();
          }
          return out;
        };
        const auto behind = run(false), meanwhile = run(true);
        for (size_t step = 0; step < 2; ++step)
          for (size_t i = 0; i < behind[step].size(); ++i) {
            ASSERT_EQ(behind[step][i].defined(), meanwhile[step][i].defined()) << i;
            if (behind[step][i].defined()) {
              EXPECT_TRUE(behind[step][i].equal(meanwhile[step][i])) << i;
            }
          }
      });
}

/// Counts the sums that were started.
class SumsCounted final : public ForwardingGroup {
 public:
  SumsCounted(Group group, std::shared_ptr<int64_t> started)
      : ForwardingGroup(std::move(group)), started_(std::move(started)) {}
  Group split(int64_t color, int64_t key) override {
    return std::make_shared<SumsCounted>(ForwardingGroup::split(color, key), started_);
  }
  parallel::Started start_all_reduce(Tensor values, parallel::Reduce reduce) override {
    ++*started_;
    return ForwardingGroup::start_all_reduce(std::move(values), reduce);
  }

 private:
  std::shared_ptr<int64_t> started_;
};

TEST(GradientSums, SetOutInTheLastBackwardPassAlone) {
  run_ranks(2, [](const Group& group) {
    const auto started = std::make_shared<int64_t>();
    const Layout layout = Layout(std::make_shared<SumsCounted>(group, started));
    const Tensor first = normal({2}, 1).set_requires_grad(true),
                 last = normal({2}, 2).set_requires_grad(true);
    const Parameters parameters = {{"first", first, {}}, {"last", last, {}}};
    GradientSums sums(parameters, layout, /*bucket_bytes=*/1);
    (first * last).sum().backward();
    EXPECT_EQ(*started, 0);
    sums.begin();
    last.sum().backward();  // the first parameter's does not come
    EXPECT_EQ(*started, 1);
    sums.finish();
    EXPECT_EQ(*started, 2);
    EXPECT_ERROR(sums.finish(), "expected begin() before the backward pass");
  });
}

TEST(GradientSums, RefuseGradientsThatComeInParts) {
  run_ranks(2, [](const Group& group) {
    const Tensor shared = normal({2}, 1).set_requires_grad(true);
    GradientSums sums({{"shared", shared, {}}}, Layout(group));
    sums.begin();
    shared.sum().backward();
    // What libtorch's engine throws it wraps in nothing.
    EXPECT_ERROR(shared.sum().backward(),
                 "expected the gradient of 'shared' to be complete when it was first added to");
    sums.finish();
  });
}

TEST(GradientSums, LeaveNothingBehind) {
  run_ranks(2, [](const Group& group) {
    const Tensor value = normal({2}, 1).set_requires_grad(true);
    {
      GradientSums sums({{"value", value, {}}}, Layout(group));
      sums.begin();
      value.sum().backward();
      sums.finish();
    }
    EXPECT_TRUE(value.grad().eq(2).all().item<bool>());
    value.sum().backward();
    EXPECT_TRUE(value.grad().eq(3).all().item<bool>());
  });
}

}  // namespace
}  // namespace moe::test::gradient_sums_test
