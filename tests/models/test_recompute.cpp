// Recomputed activations change nothing but memory. B batch, S sequence, E experts.
#include <map>
#include <tests/models/tiny.h>
#include <tests/support/compare.h>
#include <tests/support/message_of.h>
#include <tests/support/modules.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <moe/balance/terms.h>
#include <moe/experts/expert_options.h>
#include <moe/layers/mixers/routed_attention.h>
#include <moe/parallel/gradients.h>
#include <moe/parallel/threads.h>

namespace moe::models::recompute_test {

namespace {

using moe::test::expect_identical;
using moe::test::RowsContext;
using moe::test::RowsOutput;
using moe::test::run_rows;
namespace tiny = moe::test::tiny;
using Group = std::shared_ptr<parallel::Communicator>;

constexpr int64_t kRows = 4, kLength = 8, kMicroBatches = 2;

struct Case {
  std::string name;
  DecoderOptions options;
  bool padding = false;
};

/// Models with everything that a second forward pass could get wrong: noise, dropout of every sort,
/// statistics across steps and micro-batches, terms on weights, padding.
std::vector<Case> cases() {
  std::vector<Case> out;
  const auto add = [&](const std::string& name, bool padding, auto change) {
    out.push_back({name, tiny::options(), padding});
    change(out.back().options);
  };
  add("plain", false, [](auto&) {});
  add("dense_post_layernorm", false, [](auto& o) {
    o.uniform.moe.num_experts = 0, o.uniform.norm_position = "post", o.uniform.norm = "layernorm";
  });
  add("every_dropout", true, [](auto& o) {
    o.uniform.dropout = 0.2, o.uniform.attention_dropout = 0.3;
    o.uniform.moe.expert.options = tiny::with("dropout", 0.4);
    o.uniform.moe.expert_dropout = 0.3;
    o.uniform.moe.shared = Dense{.d_ff = 3, .gate = true};
    o.tied_embeddings = true;
  });
  add("noisy_with_load", false, [](auto& o) {
    o.uniform.moe.router.kind = "noisy_topk";
    o.uniform.moe.balance = {
        {"load", 0.1}, {"importance", 0.1}, {"switch", 0.1, tiny::with("scope", "global")}};
  });
  add("bias_and_usage", true, [](auto& o) {
    o.uniform.moe.router = {.kind = "sigmoid", .options = tiny::with("bias_rate", 0.05)};
    o.uniform.moe.balance = {{"usage_variance", 0.5, tiny::with("decay", 0.5)},
                             {"sequence", 0.1},
                             {"orthogonality", 0.5, tiny::with("of", "experts")},
                             {"expert_l2", 0.1}};
    o.uniform.norm_position = "post";
  });
  add("advanced_experts_every_second", false, [](auto& o) {
    o.uniform.layers = 4, o.uniform.moe.every = 2;
    o.uniform.moe.expert = {.kind = "advanced", .d_ff = 6};
    o.uniform.moe.router.kind = "gshard";
  });
  add("attention_heads_with_balance", true, [](auto& o) {
    o.blocks = o.block_specs();
    o.uniform = {};
    for (auto& block : o.blocks)
      block.mixer = RoutedAttention{
          .num_experts = 4, .balance = {SwitchLoss{.coefficient = 0.5}, ZLoss{.coefficient = 0.1}}};
  });
  add("gating_residual_detached_and_free_experts", false, [](auto& o) {
    o.uniform.moe.router = {.kind = "gating_residual", .options = tiny::with("detach", true)};
    o.uniform.moe.zero_experts = 1, o.uniform.moe.constant_experts = 2;
    o.uniform.moe.balance = {{"entropy", 0.1, tiny::with("scope", "sequence")},
                             {"importance", 0.1, tiny::with("scope", "global")}};
  });
  add("adapters_on_a_frozen_base", false,
      [](auto& o) { o.uniform.moe.expert = LoraExpert{.d_ff = 6, .rank = 2, .dropout = 0.3}; });
  return out;
}

/// What one optimizer step of a fresh model leaves.
struct StepOutcome {
  std::vector<Tensor> losses;
  std::map<std::string, Tensor> gradients, buffers;
};

RowsContext context_of(const Case& c, Recompute recompute, int64_t micro_batch) {
  RowsContext context;
  context.training = true;
  context.random = {.seed = 8, .step = 3};
  context.first_token = micro_batch * kRows * kLength;
  context.recompute = recompute;
  if (c.padding) {
    context.valid_BS = at::ones({kRows, kLength}, at::kBool);
    context.valid_BS[1].slice(0, 3).fill_(false);
    context.valid_BS[2].slice(0, 6).fill_(false);
  }
  return context;
}

/// One step of two micro-batches, of which this rank of the group has its rows.
StepOutcome step(const Case& c, Recompute recompute, at::ScalarType parameters,
                 at::ScalarType compute, const Group& group = parallel::local(),
                 const std::function<void(Model&)>& prepare = {}) {
  const auto model = tiny::make(c.options, {.group = group, .seed = 1});
  model->to(parameters);
  if (prepare) prepare(*model);
  const int64_t part = kRows / group->size(), first = group->rank() * part;
  StepOutcome out;
  std::vector<Tensor> counts;
  for (int64_t m = 0; m < kMicroBatches; ++m) {
    RowsContext context = context_of(c, recompute, m);
    context.compute = compute;
    context.counts_so_far = counts;
    if (c.padding) {
      context.first_token += context.valid_BS.slice(0, 0, first).sum().item<int64_t>();
      context.valid_BS = context.valid_BS.slice(0, first, first + part);
    } else {
      context.first_token += first * kLength;
    }
    const auto rows = [&](int64_t salt) {
      return tiny::ids(kRows, kLength, salt + m).slice(0, first, first + part);
    };
    const RowsOutput output = run_rows(*model, rows(0), context);
    const Tensor loss = at::cross_entropy_loss(output.logits_BSV.flatten(0, 1), rows(1).flatten(),
                                               {}, at::Reduction::Sum) +
                        output.balance_loss();
    loss.backward();
    out.losses.push_back(loss.detach());
    for (size_t i = 0; i < output.layers.size(); ++i) {
      const auto& report = output.layers[i].balance;
      for (const auto& term : report.terms) out.losses.push_back(term.value.detach());
      out.losses.push_back(report.load_E);
      if (counts.size() <= i)
        counts.push_back(report.load_E.to(at::kLong));
      else
        counts[i] = counts[i] + report.load_E.to(at::kLong);
    }
  }
  parallel::reduce_gradients(parameters_of(*model), group);
  std::vector<StepStatistics> statistics;
  for (const Tensor& counts_E : counts) statistics.push_back({counts_E, 3});
  model->end_step(statistics);
  for (const auto& item : model->named_parameters())
    if (item.value().grad().defined()) out.gradients[item.key()] = item.value().grad();
  for (const auto& item : model->named_buffers()) out.buffers[item.key()] = item.value();
  return out;
}

void expect_same(const StepOutcome& got, const StepOutcome& expected) {
  ASSERT_EQ(got.losses.size(), expected.losses.size());
  for (size_t i = 0; i < expected.losses.size(); ++i)
    expect_identical(got.losses[i], expected.losses[i], concat("loss ", i));
  ASSERT_EQ(got.gradients.size(), expected.gradients.size());
  for (const auto& [name, gradient] : expected.gradients)
    expect_identical(got.gradients.at(name), gradient, name);
  ASSERT_EQ(got.buffers.size(), expected.buffers.size());
  for (const auto& [name, buffer] : expected.buffers)
    expect_identical(got.buffers.at(name), buffer, name);
}

class Recomputation : public testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(Cases, Recomputation, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

TEST_P(Recomputation, GivesTheSameBits) {
  const moe::test::WithThreads one_thread(1);
  for (const auto& [parameters, compute] :
       {std::pair{at::kFloat, at::ScalarType::Undefined},
        std::pair{at::kDouble, at::ScalarType::Undefined}, std::pair{at::kFloat, at::kBFloat16}}) {
    SCOPED_TRACE(concat(parameters, ' ', compute));
    const StepOutcome expected = step(GetParam(), Recompute::kNone, parameters, compute);
    EXPECT_FALSE(expected.gradients.empty());
    for (const Recompute recompute : {Recompute::kMoE, Recompute::kBlocks})
      expect_same(step(GetParam(), recompute, parameters, compute), expected);
  }
}

TEST_P(Recomputation, GivesTheSameBitsOnTwoRanks) {
  const moe::test::WithThreads one_thread(1);
  Case c = GetParam();
  if (c.options.blocks.empty() && c.options.uniform.moe.num_experts > 0)
    c.options.uniform.moe.dispatcher = "all_to_all";
  for (auto& block : c.options.blocks) block.feed_forward.options.set("dispatcher", "all_to_all");
  std::map<Recompute, std::vector<StepOutcome>> outcomes;
  for (const Recompute recompute : {Recompute::kNone, Recompute::kMoE, Recompute::kBlocks}) {
    auto& of_rank = outcomes[recompute];
    of_rank.resize(2);
    parallel::run_ranks(2, [&](const Group& group) {
      of_rank[static_cast<size_t>(group->rank())] =
          step(c, recompute, at::kDouble, at::ScalarType::Undefined, group);
    });
  }
  for (const Recompute recompute : {Recompute::kMoE, Recompute::kBlocks})
    for (size_t rank = 0; rank < 2; ++rank)
      expect_same(outcomes[recompute][rank], outcomes[Recompute::kNone][rank]);
}

TEST_P(Recomputation, LeavesFrozenParametersAlone) {
  const moe::test::WithThreads one_thread(1);
  const auto freeze = [](Model& model) {
    for (auto& item : model.named_parameters())
      if (item.key() == "embedding" || item.key().find("w_q") != std::string::npos ||
          item.key().find("layers.1.") == 0)
        item.value().set_requires_grad(false);
  };
  const auto run = [&](Recompute recompute) {
    return step(GetParam(), recompute, at::kDouble, at::ScalarType::Undefined, parallel::local(),
                freeze);
  };
  const StepOutcome expected = run(Recompute::kNone);
  EXPECT_FALSE(expected.gradients.contains("embedding"));
  EXPECT_TRUE(expected.gradients.contains("layers.0.attention.w_k") ||
              expected.gradients.contains("layers.0.routed_attention.w_k"));
  for (const Recompute recompute : {Recompute::kMoE, Recompute::kBlocks})
    expect_same(run(recompute), expected);
}

/// Counts the bytes that CPU tensors of this thread hold.
class Meter : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    live_ += bytes;
    peak = std::max(peak, live_);
  }
  void reportOutOfMemory(int64_t, size_t, size_t, c10::Device) override {}
  bool memoryProfilingEnabled() const override { return true; }

  int64_t peak = 0;

 private:
  int64_t live_ = 0;
};

/// Most bytes that a step of a model of six blocks holds beside its parameters.
int64_t peak_bytes(Recompute recompute) {
  DecoderOptions o = tiny::options();
  o.uniform.layers = 6;
  o.d_model = 32;
  o.context_length = 64;
  o.uniform.moe.expert.d_ff = 64;
  const auto model = tiny::make(o);
  const auto meter = std::make_shared<Meter>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
  RowsContext context;
  context.training = true;
  context.recompute = recompute;
  const RowsOutput output = run_rows(*model, tiny::ids(4, 64), context);
  (output.logits_BSV.square().mean() + output.balance_loss()).backward();
  return meter->peak;
}

TEST(Recomputation, LowersThePeakOfMemory) {
  const moe::test::WithThreads one_thread(1);
  const int64_t none = peak_bytes(Recompute::kNone), moe = peak_bytes(Recompute::kMoE),
                blocks = peak_bytes(Recompute::kBlocks);
  std::printf("peak bytes of a step: none %ld, moe %ld, blocks %ld\n", static_cast<long>(none),
              static_cast<long>(moe), static_cast<long>(blocks));
  EXPECT_LT(static_cast<double>(moe), 0.75 * static_cast<double>(none));
  EXPECT_LT(static_cast<double>(blocks), 0.5 * static_cast<double>(none));
  EXPECT_EQ(peak_bytes(Recompute::kBlocks), blocks) << "the count is exact";
}

TEST(Recomputation, IsLeftOutWhereNothingLearns) {
  const auto model = tiny::make(tiny::options());
  RowsContext context;
  context.recompute = Recompute::kBlocks;
  const Tensor expected = run_rows(*model, tiny::ids(2, 5)).logits_BSV;
  EXPECT_TRUE(expected.requires_grad());
  expect_identical(run_rows(*model, tiny::ids(2, 5), context).logits_BSV.detach(),
                   expected.detach());
  const at::NoGradGuard no_grad;
  context.training = true;
  EXPECT_FALSE(run_rows(*model, tiny::ids(2, 5), context).logits_BSV.requires_grad());
}

TEST(Recomputation, IsChosenByName) {
  EXPECT_EQ(parse_recompute("none", "x"), Recompute::kNone);
  EXPECT_EQ(parse_recompute("moe", "x"), Recompute::kMoE);
  EXPECT_EQ(parse_recompute("blocks", "x"), Recompute::kBlocks);
  EXPECT_ERROR(parse_recompute("block", "'train.recompute'"), "'train.recompute'");
}

}  // namespace

}  // namespace moe::models::recompute_test
