// moe plan: which layouts of a run fit on a cluster, and how long a step takes.

#include <cmath>
#include <cstdio>

#include <moe/cluster/cluster.h>
#include <moe/planning/plan.h>

#include "tools/moe/common.h"
#include "tools/moe/planned_run.h"

namespace moe::tools {

namespace {

struct PlanCommand {
  std::string config, cluster, model;
  std::vector<std::string> settings;
  int64_t ranks = 0, top = 0;
  planning::PlanOptions options;
  bool all = false, json = false;
};

constexpr int64_t kShownLayouts = 10;

void setup_plan(CLI::App& app, PlanCommand& o) {
  app.add_option("CONFIG.toml", o.config, "the configuration of a run")->required();
  app.add_option("--cluster", o.cluster,
                 "machines and links (configs/clusters/; moe bench exchange --out writes one)")
      ->required()
      ->type_name("CLUSTER.toml");
  app.add_option("--model", o.model,
                 "plan this published model (moe inspect --list model) instead of [model]")
      ->type_name("NAME");
  app.add_option("--ranks", o.ranks, "use so many ranks of the cluster; 0: all")
      ->type_name("W")
      ->capture_default_str();
  app.add_option("--imbalance", o.options.imbalance,
                 "pairs on the busiest rank over the mean (max_over_mean of a run's metrics)")
      ->capture_default_str();
  app.add_option("--chunks", o.options.chunks,
                 "parts in which exchange and experts overlap, to try")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--top", o.top, "layouts to list; 0: 10, and with --json all that fit")
      ->capture_default_str();
  app.add_flag("--all", o.all, "list layouts that do not fit too, behind those that do");
  add_set(app, o.settings);
  add_json(app, o.json);
}

Json layout_json(const planning::LayoutPlan& plan, const planning::Workload& work,
                 const cluster::Cluster& cluster) {
  const auto& m = plan.memory;
  const auto& t = plan.time;
  const auto bytes = [](double value) { return static_cast<int64_t>(std::llround(value)); };
  const double flops = 3 * work.tokens_per_step() * static_cast<double>(work.passes);
  double per_token = work.flops_per_token;
  for (const auto& layer : work.layers) per_token += layer.pairs_per_token * layer.flops_per_pair;
  const double peak = cluster.rank.rate(work.dtype) / cluster.rank.efficiency;
  return {{"experts", plan.layout.experts},
          {"data", plan.layout.data},
          {"zero1", plan.layout.zero1},
          {"chunks", plan.layout.chunks},
          {"exchange_bytes_per_number", plan.layout.exchange_bytes},
          {"rows_per_rank", plan.rows},
          {"fits", m.total() <= cluster.rank.memory},
          {"memory_bytes",
           {{"weights", bytes(m.state.weights)},
            {"gradients", bytes(m.state.gradients)},
            {"moments", bytes(m.state.moments)},
            {"activations", bytes(m.activations)},
            {"exchange", bytes(m.exchange)},
            {"total", bytes(m.total())}}},
          {"seconds",
           {{"dense", t.dense},
            {"experts", t.experts},
            {"exchange", t.exchange},
            {"gradients", t.gradients},
            {"sums", t.sums},
            {"optimizer", t.optimizer},
            {"total", t.total()}}},
          {"bytes_per_step",
           {{"inside_node_per_rank", bytes(plan.inside_bytes)},
            {"between_nodes_per_node", bytes(plan.between_bytes)}}},
          {"tokens_per_second", work.tokens_per_step() / t.total()},
          {"share_of_peak",
           flops * per_token / t.total() / peak / static_cast<double>(cluster.ranks())}};
}

Json plan_json(const planning::Plan& plan, const planning::Workload& work,
               const cluster::Cluster& cluster, const PlanCommand& o) {
  Json out = {{"cluster", cluster.name},
              {"nodes", cluster.nodes},
              {"ranks_per_node", cluster.ranks_per_node},
              {"ranks", cluster.ranks()},
              {"memory_per_rank", cluster.rank.memory},
              {"parameters", work.parameters},
              {"moe_layers", work.layers.size()},
              {"most_experts", work.most_experts()},
              {"dtype", work.dtype},
              {"tokens_per_step", static_cast<int64_t>(work.tokens_per_step())},
              {"imbalance", o.options.imbalance},
              {"evaluated", plan.evaluated()},
              {"layouts", Json::array()}};
  const auto add = [&](const std::vector<planning::LayoutPlan>& plans) {
    for (const auto& one : plans) {
      if (o.top > 0 && static_cast<int64_t>(out["layouts"].size()) >= o.top) return;
      out["layouts"].push_back(layout_json(one, work, cluster));
    }
  };
  add(plan.fits);
  if (o.all) add(plan.too_large);
  Json& large = out["too_large"];
  large = {{"count", plan.too_large.size()}, {"nearest", nullptr}};
  if (plan.too_large.empty()) return out;
  large["nearest"] = layout_json(plan.too_large.front(), work, cluster);
  large["nearest"]["reason"] = planning::why_too_large(plan.too_large.front(), cluster.rank.memory);
  return out;
}

void print_layouts(const std::vector<planning::LayoutPlan>& plans, int64_t most,
                   const planning::Workload& work) {
  std::printf(
      "experts   data  zero1  chunks  bytes a number  memory GB  dense ms  experts ms"
      "  exchange ms  gradients ms   step ms    tokens/s\n");
  for (size_t i = 0; i < plans.size() && static_cast<int64_t>(i) < most; ++i) {
    const auto& [layout, memory, time, inside, between, rows] = plans[i];
    std::printf("%7lld %6lld  %5s %7lld %15g %10.3g %9.4g %11.4g %12.4g %13.4g %9.5g %11.5g\n",
                static_cast<long long>(layout.experts), static_cast<long long>(layout.data),
                layout.zero1 ? "yes" : "no", static_cast<long long>(layout.chunks),
                layout.exchange_bytes, memory.total() / 1e9, 1e3 * time.dense, 1e3 * time.experts,
                1e3 * time.exchange, 1e3 * (time.gradients + time.sums), 1e3 * time.total(),
                work.tokens_per_step() / time.total());
  }
}

void print_best(const planning::LayoutPlan& best) {
  const auto& m = best.memory;
  std::printf(
      "\nThe best: weights %.4g GB, gradients %.4g GB, moments %.4g GB, activations %.4g GB,"
      " exchange %.4g GB a rank;\nsent a step: %.4g GB by a rank inside its node, %.4g GB by"
      " a node to others.\n",
      m.state.weights / 1e9, m.state.gradients / 1e9, m.state.moments / 1e9, m.activations / 1e9,
      m.exchange / 1e9, best.inside_bytes / 1e9, best.between_bytes / 1e9);
}

int run_plan(const PlanCommand& o) {
  check<ConfigError>(o.top >= 0 && o.ranks >= 0, "plan",
                     "expected --top and --ranks of at least 0, got ", std::min(o.top, o.ranks),
                     ". Correct it.");
  check_input_file("--cluster", o.cluster);
  o.options.validate();
  auto cluster = cluster::read_cluster(o.cluster);
  if (o.ranks > 0) cluster = cluster.with_ranks(o.ranks);
  const auto work = planning::workload_of(planned_run(o.config, o.model, o.settings));
  const auto plan = planning::make_plan(work, cluster, o.options);
  if (o.json) {
    print_json(plan_json(plan, work, cluster, o));
    return 0;
  }
  std::printf("%s: %s ranks on %s nodes; %s parameters, %s tokens a step, products in %s\n",
              cluster.name.empty() ? o.cluster.c_str() : cluster.name.c_str(),
              grouped(cluster.ranks()).c_str(), grouped(cluster.nodes).c_str(),
              grouped(work.parameters).c_str(),
              grouped(static_cast<int64_t>(work.tokens_per_step())).c_str(), work.dtype.c_str());
  const int64_t most = o.top > 0 ? o.top : kShownLayouts;
  std::printf("%zu of %zu layouts fit into %.4g GB a rank\n\n", plan.fits.size(), plan.evaluated(),
              cluster.rank.memory / 1e9);
  if (!plan.fits.empty()) {
    print_layouts(plan.fits, most, work);
    print_best(plan.fits.front());
  }
  if (!plan.too_large.empty()) {
    const auto& nearest = plan.too_large.front();
    std::printf("\n%zu layouts do not fit. The nearest, experts %lld x data %lld%s: %s.\n",
                plan.too_large.size(), static_cast<long long>(nearest.layout.experts),
                static_cast<long long>(nearest.layout.data),
                nearest.layout.zero1 ? " with zero1" : "",
                planning::why_too_large(nearest, cluster.rank.memory).c_str());
    if (o.all) print_layouts(plan.too_large, most, work);
  }
  return 0;
}

}  // namespace

void add_plan(CLI::App& program, Session& session) {
  add_command<PlanCommand>(
      program, session,
      {"plan", "Which layouts of experts and data fit on a cluster, and what a step takes.",
       "moe plan configs/demo.toml --cluster configs/clusters/two_nodes.toml", setup_plan,
       run_plan});
}

}  // namespace moe::tools
