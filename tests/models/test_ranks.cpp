// The core promise: any number of ranks computes what one rank computes.
// W ranks, B batch rows, S sequence, V vocabulary, E experts, L experts on one rank.
#include <map>
#include <numeric>
#include <tests/models/tiny.h>
#include <tests/support/compare.h>
#include <tests/support/modules.h>

#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <moe/parallel/gradients.h>
#include <moe/parallel/threads.h>
#include <moe/train/clip.h>
#include <moe/train/optimizer.h>

namespace moe::models::ranks_test {

namespace {

using moe::test::expect_close;
using moe::test::expect_identical;
using moe::test::RowsContext;
using moe::test::RowsOutput;
using moe::test::run_rows;
namespace tiny = moe::test::tiny;
using Group = std::shared_ptr<parallel::Communicator>;

constexpr int64_t kRows = 6, kLength = 5, kSteps = 2;
constexpr int64_t kIgnored = -100;

/// A model under test, and whether its batch has padding.
struct Case {
  std::string name;
  DecoderOptions options;
  bool padding = false;
};

std::vector<Case> cases() {
  std::vector<Case> out;
  const auto add = [&](const std::string& name, bool padding, auto change) {
    out.push_back({name, tiny::options(), padding});
    change(out.back().options);
    out.back().options.uniform.moe.dispatcher = "all_to_all";
  };
  add("topk", false, [](auto& o) { o.uniform.moe.balance = {{"switch", 0.5}, {"z_loss", 0.1}}; });
  add("every_dropout", true, [](auto& o) {
    o.uniform.dropout = 0.2, o.uniform.attention_dropout = 0.3;
    o.uniform.moe.expert.options = tiny::with("dropout", 0.4);
    o.uniform.moe.shared = Dense{.d_ff = 3, .gate = true};
    o.tied_embeddings = true;
  });
  add("sigmoid_by_sequence", true, [](auto& o) {
    o.uniform.moe.router = {.kind = "sigmoid", .options = tiny::with("bias_rate", 0.05)};
    o.uniform.moe.balance = {{"switch", 0.5, tiny::with("scope", "sequence")}};
    o.uniform.norm_position = "post", o.uniform.norm = "layernorm";
  });
  add("switch_jitter_among_dense", false, [](auto& o) {
    o.uniform.layers = 3, o.uniform.moe.layers = {1}, o.uniform.moe.top_k = 1;
    o.uniform.moe.router = {.kind = "switch", .options = tiny::with("jitter", 0.3)};
    o.uniform.moe.expert = {.kind = "ffn", .d_ff = 6, .options = tiny::with("bias", true)};
  });
  add("expert_choice_bidirectional", true,
      [](auto& o) { o.causal = false, o.uniform.moe.router.kind = "expert_choice"; });
  add("forced_skew_every_expert", false, [](auto& o) {
    o.uniform.moe.router = {.kind = "forced_skew", .options = tiny::with("exponent", 3.0)};
    o.uniform.moe.top_k = 4;
  });
  add("weight_on_input", true, [](auto& o) {
    o.uniform.moe.router = {.kind = "topk", .options = tiny::with("weight_on", "input")};
  });
  add("terms_with_state_and_on_weights", true, [](auto& o) {
    o.uniform.moe.balance = {{"usage_variance", 0.5, tiny::with("decay", 0.5)},
                             {"orthogonality", 0.5},
                             {"orthogonality", 0.5, tiny::with("of", "experts")},
                             {"expert_l2", 0.1},
                             {"load", 0.1}};
    o.uniform.moe.expert_dropout = 0.3;
  });
  add("capacity", true, [](auto& o) {
    o.uniform.moe.capacity = {
        .factor = 0.6, .order = "priority", .overflow = "next_best", .renormalise = true};
  });
  return out;
}

bool of_experts(const std::string& name) {
  return name.find(".experts.") != std::string::npos;
}

/// What one rank has after two optimizer steps.
struct Outcome {
  std::vector<double> losses, norms;
  std::vector<std::map<std::string, Tensor>> gradients;
  std::map<std::string, Tensor> parameters, buffers;
};

/// Parameters of the whole model, of which a rank takes its experts.
std::map<std::string, Tensor> whole_parameters(DecoderOptions o) {
  o.uniform.moe.dispatcher = "local";
  const auto model = tiny::make(o);
  moe::test::randomise(*model, 3, 0.4);
  std::map<std::string, Tensor> out;
  for (const auto& item : model->named_parameters()) out[item.key()] = item.value().detach();
  return out;
}

void take_shard(Model& model, const std::map<std::string, Tensor>& whole, int64_t rank) {
  const at::NoGradGuard no_grad;
  for (auto& item : model.named_parameters()) {
    const Tensor& all = whole.at(item.key());
    const int64_t L = item.value().dim() > 0 ? item.value().size(0) : 1;
    item.value().copy_(of_experts(item.key()) ? all.slice(0, rank * L, (rank + 1) * L) : all);
  }
}

Outcome train(const Case& c, const Group& group, const std::vector<int64_t>& rows,
              const std::map<std::string, Tensor>& whole) {
  const auto model = tiny::make(c.options, {.group = group});
  model->to(at::kDouble);
  take_shard(*model, whole, group->rank());

  const int64_t first = std::accumulate(rows.begin(), rows.begin() + group->rank(), int64_t{0});
  const int64_t last = first + rows[static_cast<size_t>(group->rank())];
  Tensor valid_BS = at::ones({kRows, kLength}, at::kBool);
  if (c.padding)
    for (const int64_t b : {1, 3, 4}) valid_BS[b].slice(0, b).fill_(false);
  const Tensor ids_BS = tiny::ids(kRows, kLength), target_BS = tiny::ids(kRows, kLength, 1);
  const double targets = valid_BS.sum().item<double>();

  const Parameters parameters = parameters_of(*model);
  const auto optimizer = train::make_optimizer(parameters, {});
  Outcome outcome;
  for (int64_t step = 0; step < kSteps; ++step) {
    RowsContext context;
    context.training = true;
    context.random = {.seed = 8, .step = static_cast<uint64_t>(step)};
    context.first_token = valid_BS.slice(0, 0, first).sum().item<int64_t>();
    if (c.padding) context.valid_BS = valid_BS.slice(0, first, last);
    const RowsOutput out = run_rows(*model, ids_BS.slice(0, first, last), context);
    const Tensor wanted_BS =
        target_BS.masked_fill(valid_BS.logical_not(), kIgnored).slice(0, first, last);
    Tensor token_loss = at::cross_entropy_loss(out.logits_BSV.flatten(0, 1), wanted_BS.flatten(),
                                               {}, at::Reduction::Sum, kIgnored) /
                        targets;
    const Tensor balance_loss = out.balance_loss();
    optimizer->zero_gradients();
    (token_loss + balance_loss).backward();
    parallel::reduce_gradients(parameters, group);

    Tensor total = token_loss.detach().clone();
    group->all_reduce(total);
    outcome.losses.push_back(total.item<double>() + balance_loss.item<double>());
    outcome.norms.push_back(train::gradient_norm(parameters, group));
    train::clip_gradients(parameters, outcome.norms.back(), outcome.norms.back() / 3);
    outcome.gradients.push_back(moe::test::gradients_of(*model));
    optimizer->step(1e-3, step);
    std::vector<StepStatistics> statistics;
    for (const LayerReport& report : out.layers)
      statistics.push_back({report.balance.load_E.to(at::kLong), step});
    model->end_step(statistics);
  }
  for (const auto& p : parameters) outcome.parameters[p.name] = p.tensor.detach();
  for (const auto& item : model->named_buffers()) outcome.buffers[item.key()] = item.value();
  return outcome;
}

/// Tensors of all ranks: replicated ones must be the same everywhere, those of experts are joined.
std::map<std::string, Tensor> joined(const std::vector<std::map<std::string, Tensor>>& of_rank) {
  std::map<std::string, Tensor> out;
  for (const auto& [name, tensor] : of_rank[0]) {
    std::vector<Tensor> parts;
    for (const auto& tensors : of_rank) parts.push_back(tensors.at(name));
    if (!of_experts(name))
      for (const Tensor& part : parts) expect_identical(part, tensor, name);
    out[name] = of_experts(name) ? at::cat(parts) : tensor;
  }
  return out;
}

void expect_same(const std::map<std::string, Tensor>& got,
                 const std::map<std::string, Tensor>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [name, tensor] : expected) expect_close(got.at(name), tensor, 1e-10, name);
}

class RanksEqualOne : public testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(Cases, RanksEqualOne, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

TEST_P(RanksEqualOne, InLossGradientsNormClippingAndUpdates) {
  const moe::test::WithThreads one_thread(1);
  const Case& c = GetParam();
  const auto whole = whole_parameters(c.options);
  Case alone = c;
  alone.options.uniform.moe.dispatcher = "local";
  const Outcome expected = train(alone, parallel::local(), {kRows}, whole);
  for (const auto& [name, gradient] : expected.gradients[0]) {
    const bool unlearned = gradient.eq(0).all().item<bool>();
    EXPECT_FALSE(unlearned) << name << " has no gradient: the comparison would say nothing";
  }

  for (const std::vector<int64_t>& rows : {std::vector<int64_t>{6}, {4, 2}, {0, 6}, {3, 1, 0, 2}}) {
    SCOPED_TRACE(testing::Message() << rows.size() << " ranks");
    std::vector<Outcome> outcomes(rows.size());
    parallel::run_ranks(static_cast<int64_t>(rows.size()), [&](const Group& group) {
      outcomes[static_cast<size_t>(group->rank())] = train(c, group, rows, whole);
    });
    for (size_t step = 0; step < kSteps; ++step) {
      std::vector<std::map<std::string, Tensor>> gradients;
      for (const Outcome& outcome : outcomes) {
        EXPECT_NEAR(outcome.losses[step], expected.losses[step], 1e-10);
        EXPECT_NEAR(outcome.norms[step] / expected.norms[step], 1, 1e-10);
        gradients.push_back(outcome.gradients[step]);
      }
      expect_same(joined(gradients), expected.gradients[step]);
    }
    std::vector<std::map<std::string, Tensor>> parameters, buffers;
    for (const Outcome& outcome : outcomes) {
      parameters.push_back(outcome.parameters);
      buffers.push_back(outcome.buffers);
    }
    expect_same(joined(parameters), expected.parameters);
    expect_same(joined(buffers), expected.buffers);
  }
}

TEST(Ranks, ClippingReachesTheAskedNorm) {
  const Case c = cases()[0];
  const auto whole = whole_parameters(c.options);
  const Outcome one = train(c, parallel::local(), {kRows}, whole);
  double squares = 0;
  for (const auto& [name, gradient] : one.gradients[0])
    squares += gradient.square().sum().item<double>();
  EXPECT_NEAR(std::sqrt(squares), one.norms[0] / 3, 1e-10);
}

TEST(Ranks, AModelStartsFromTheSameNumbersOnAnyNumberOfRanks) {
  for (const Case& c : cases()) {
    DecoderOptions o = c.options;
    o.uniform.moe.dispatcher = "local";
    const auto expected = tiny::make(o)->named_parameters();
    for (const int64_t ranks : {1, 2, 4})
      parallel::run_ranks(ranks, [&](const Group& group) {
        const auto model = tiny::make(c.options, {.group = group, .seed = 1});
        for (const auto& item : model->named_parameters()) {
          const Tensor& all = expected[item.key()];
          const int64_t L = item.value().size(0), r = group->rank();
          expect_identical(
              item.value().detach(),
              (of_experts(item.key()) ? all.slice(0, r * L, (r + 1) * L) : all).detach(),
              item.key());
        }
      });
  }
}

}  // namespace

}  // namespace moe::models::ranks_test
