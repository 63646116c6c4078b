#pragma once
// Runs of several ranks, which are threads, and what must be the same of two of them. E experts.

#include <cmath>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>

#include <moe/balance/kinds/expert_l2.h>
#include <moe/balance/kinds/orthogonality.h>
#include <moe/experts/modules.h>
#include <moe/formats/safetensors.h>
#include <moe/parallel/threads.h>

#include "tests/train/tiny_run.h"

namespace moe::test {

/// Of tensors, and of numbers in metrics.jsonl.
constexpr double kRanksTolerance = 1e-10;

/// Twenty steps in float64 with everything that could depend on who has which rows: accumulation,
/// capacity, a bias that balances without a loss, z-loss, dropout, clipping, evaluation, frozen
/// experts and idle ones that do not decay.
inline train::RunOptions run_of_ranks(const Path& folder, const std::string& optimizer) {
  auto run = tiny_run(folder, "float64");
  change_model(run, [](auto& model) {
    auto& moe = model.uniform.moe;
    moe.num_experts = 8;
    moe.router.kind = "sigmoid";
    moe.router.options.set("bias_rate", 0.01);
    moe.capacity.factor = 1.0;
    moe.dispatcher = "all_to_all";
    moe.balance = {{.kind = "switch"}, {.kind = "z_loss", .coefficient = 1e-3}};
  });
  run.train.steps = 20;
  run.train.batch = 8;
  run.train.eval_every = 10;
  run.train.checkpoint_every = 10;
  run.train.optimizer.rule.kind = optimizer;
  run.train.optimizer.clip = 0.1;
  run.train.optimizer.router_warmup = 4;
  run.train.optimizer.decay_idle_experts = false;
  run.train.optimizer.groups = {
      {.match = "layers.1.moe", .experts = {0, 1, 6}, .frozen = true},
      {.match = "layers.1.moe.experts", .experts = {3}, .lr_factor = 0.5, .weight_decay = 0.3}};
  run.train.tensorboard.enabled = false;
  return run;
}

/// Experts that idle and are started again.
inline void restart_idle_experts(train::RunOptions& run) {
  change_model(run, [](auto& model) {
    model.uniform.moe.router = {.kind = "topk"};
    model.uniform.moe.capacity = {};
  });
  let_experts_idle(run, 20, 3);
  run.train.monitor.revive = true;
  run.train.optimizer.groups = {};
}

inline std::vector<BalanceSpec> terms_on_weights() {
  ExpertL2Loss decay;
  decay.coefficient = 0.01;
  OrthogonalityLoss apart;
  apart.coefficient = 0.1;
  apart.of = "experts";
  return {decay, apart};
}

/// Experts that are modules of several widths, the same numbers wherever they are.
inline void take_modules(models::MoEBlocks& moe) {
  static const bool known = [] {
    experts::register_module_experts("test_modules", "for tests of ranks", [](int64_t expert) {
      torch::nn::Sequential net(torch::nn::Linear(16, 4 + 4 * expert), torch::nn::Tanh(),
                                torch::nn::Linear(4 + 4 * expert, 16));
      const at::NoGradGuard no_grad;
      for (auto& parameter : net->parameters()) {
        const auto n = parameter.numel();
        parameter.copy_((at::arange(n, at::kFloat) * 0.7 + expert).sin().view(parameter.sizes()) *
                        0.3);
      }
      net->to(at::kDouble);
      return net;
    });
    return true;
  }();
  static_cast<void>(known);
  moe.expert.kind = "test_modules";
  moe.expert.options = {};
  moe.capacity = {};
}

using ActionOfRank = std::function<train::RunSummary(train::Run& run, train::RunControls controls)>;

/// Does it on every rank; rank 0's summary.
inline train::RunSummary on_ranks(int64_t ranks, const train::RunOptions& options,
                                  const Path& folder, const ActionOfRank& action) {
  train::RunSummary out;
  parallel::run_ranks(ranks, [&](const std::shared_ptr<parallel::Communicator>& group) {
    train::Run run(options, folder);
    train::RunControls controls;
    controls.group = group;
    const auto summary = action(run, controls);
    if (group->rank() == 0) out = summary;
  });
  return out;
}

inline train::RunSummary start_on(int64_t ranks, const train::RunOptions& options,
                                  const Path& folder, int64_t steps = -1) {
  return on_ranks(ranks, options, folder, [&](train::Run& run, train::RunControls controls) {
    controls.max_steps = steps;
    return run.start(controls);
  });
}

inline train::RunSummary resume_on(int64_t ranks, const train::RunOptions& options,
                                   const Path& folder) {
  return on_ranks(ranks, options, folder, [](train::Run& run, const train::RunControls& controls) {
    return run.resume(controls);
  });
}

/// Every tensor of the newest checkpoint, whatever files it is in: parameters, router state and
/// optimizer state.
inline std::map<std::string, at::Tensor> saved_tensors(const Path& run) {
  const Path folder = *checkpoint::latest_checkpoint(run / "checkpoints");
  std::map<std::string, std::map<int64_t, at::Tensor>> pieces;
  for (const auto& [file, entry] : checkpoint::verify_manifest(folder).files) {
    if (!file.ends_with(".safetensors")) continue;
    const auto opened = formats::SafetensorsFile::open(folder / file);
    const auto first = opened.metadata().find("first_expert");
    const int64_t row = first == opened.metadata().end() ? 0 : std::stoll(first->second);
    for (const auto& name : opened.names()) {
      auto& of_name = pieces[file.substr(0, file.find('.')) + " " + name];
      EXPECT_FALSE(of_name.contains(row)) << name << " is written twice";
      of_name[row] = opened.tensor(name).to(at::kDouble);
    }
  }
  std::map<std::string, at::Tensor> out;
  for (const auto& [name, parts] : pieces) {
    std::vector<at::Tensor> in_order;
    for (const auto& [row, part] : parts) in_order.push_back(part);
    out[name] = in_order.size() == 1 ? in_order.front() : at::cat(in_order);
  }
  return out;
}

inline std::vector<nlohmann::json> metric_lines(const Path& run) {
  std::ifstream in(run / "metrics.jsonl");
  std::vector<nlohmann::json> out;
  for (std::string line; std::getline(in, line);) {
    out.push_back(nlohmann::json::parse(line));
    out.back().erase("tokens_per_second");
    out.back().erase("seconds");
  }
  return out;
}

/// Equal but for the rounding of numbers with a fraction.
inline void expect_same_json(const nlohmann::json& found, const nlohmann::json& expected,
                             const std::string& where) {
  ASSERT_EQ(found.type(), expected.type()) << where << ": " << found << " and " << expected;
  if (expected.is_number_float()) {
    const double a = found, b = expected;
    EXPECT_LT(std::abs(a - b) / std::max(1.0, std::abs(b)), kRanksTolerance) << where;
    return;
  }
  if (!expected.is_structured()) {
    EXPECT_EQ(found, expected) << where;
    return;
  }
  ASSERT_EQ(found.size(), expected.size()) << where;
  for (const auto& [key, value] : expected.items()) {
    const auto* other = expected.is_object() ? (found.contains(key) ? &found[key] : nullptr)
                                             : &found[std::stoull(key)];
    ASSERT_NE(other, nullptr) << where << '.' << key;
    expect_same_json(*other, value, where + '.' + key);
  }
}

/// The same metrics but for times, and the same newest checkpoint.
inline void expect_same_run(const Path& found, const Path& expected) {
  const auto a = metric_lines(found), b = metric_lines(expected);
  ASSERT_EQ(a.size(), b.size());
  ASSERT_FALSE(b.empty());
  for (size_t i = 0; i < a.size(); ++i) expect_same_json(a[i], b[i], std::to_string(i));
  const auto c = saved_tensors(found), d = saved_tensors(expected);
  ASSERT_EQ(c.size(), d.size());
  for (const auto& [name, tensor] : d) {
    ASSERT_TRUE(c.contains(name)) << name;
    ASSERT_EQ(c.at(name).sizes(), tensor.sizes()) << name;
    EXPECT_LT((c.at(name) - tensor).abs().max().item<double>(), kRanksTolerance) << name;
  }
}

}  // namespace moe::test
