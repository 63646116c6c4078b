// W ranks, P of them share experts, E experts, L of them on a rank, K choices a token.
#include <algorithm>
#include <cmath>
#include <tuple>

#include <moe/parallel/gradients.h>
#include <moe/planning/plan.h>

namespace moe::planning {

namespace {

using cluster::Cluster;
using cluster::Cost;
using cluster::Group;

constexpr const char* kPlaceOfPlan = "planning/plan";
/// What gradients are added in.
constexpr auto kBucketBytes = static_cast<double>(parallel::kBucketBytes);
/// A number of int64: counts of rows, numbers of tokens.
constexpr double kIndexBytes = 8;

double of(int64_t number) {
  return static_cast<double>(number);
}

/// Experts on the rank that has most.
int64_t held(int64_t experts, int64_t ranks) {
  return parallel::share_of(experts, ranks, 0).count;
}

/// One layout, part by part.
class Evaluation {
 public:
  Evaluation(const Workload& work, const Cluster& cluster, const Layout& layout,
             const PlanOptions& options)
      : work_(work),
        cluster_(cluster),
        layout_(layout),
        imbalance_(layout.experts > 1 ? options.imbalance : 1),
        sharing_(Group::consecutive(cluster, layout.experts)),
        all_(Group::consecutive(cluster, cluster.ranks())),
        copies_(Group::strided(cluster, layout.data)) {
    out_.layout = layout;
    out_.rows = held(work.batch, cluster.ranks());
    tokens_ = of(out_.rows) * of(work.sequence);
  }

  LayoutPlan run() {
    add_state();
    add_activations();
    add_products();
    add_exchanges();
    add_gradients();
    return out_;
  }

 private:
  double pairs(const ExpertLayer& layer) const {
    return imbalance_ * tokens_ * layer.pairs_per_token;
  }
  double micro_batches() const { return of(work_.accumulation) * of(work_.passes); }

  void add_state() {
    const double of_all = layout_.zero1 ? of(cluster_.ranks()) : 1,
                 of_copies = layout_.zero1 ? of(layout_.data) : 1;
    StateBytes state = work_.replicated;
    state.moments /= of_all;
    for (const auto& layer : work_.layers) {
      StateBytes experts = layer.state * of(held(layer.experts, layout_.experts));
      experts.moments /= of_copies;
      state += experts;
      held_ += experts;
    }
    out_.memory.state = state;
  }

  /// Bytes that a layer's pairs keep: what experts compute, and on several ranks the rows that came
  /// and those that went back.
  double kept_of_pairs(const ExpertLayer& layer) const {
    const double rows = layout_.experts > 1 ? 2 * of(layer.width) : 0;
    return pairs(layer) * (layer.kept_per_pair + rows) * work_.number_bytes;
  }

  void add_activations() {
    double kept = 0, in_full = 0, rows = 0;
    for (const auto& block : work_.blocks) {
      const auto* layer = block.experts < 0 ? nullptr : &work_.layers[block.experts];
      const double experts = layer ? kept_of_pairs(*layer) : 0, all = tokens_ * block.all + experts;
      if (layer) rows = std::max(rows, pairs(*layer) * of(layer->width));
      if (work_.recompute == "none") {
        kept += all;
        continue;
      }
      const double left = tokens_ * (work_.recompute == "moe" ? block.without_moe : block.input);
      kept += left;
      in_full = std::max(in_full, all - left);
    }
    const double loss = tokens_ * work_.hidden_bytes +
                        std::min(tokens_ * work_.logits_bytes, work_.most_logits_bytes);
    out_.memory.activations = of(work_.passes) * kept + in_full + loss;
    if (layout_.experts > 1) out_.memory.exchange += 2 * rows * layout_.exchange_bytes;
    if (cluster_.ranks() > 1)
      out_.memory.exchange += 2 * std::min(kBucketBytes, work_.replicated.gradients);
  }

  /// Products of one pass, or the memory that it has to read and write.
  double seconds(double flops, double bytes) const {
    return std::max(flops / cluster_.rank.rate(work_.dtype),
                    bytes / cluster_.rank.memory_bandwidth);
  }

  void add_products() {
    const auto& dense = work_.replicated;
    const double forward = tokens_ * work_.flops_per_token, again = tokens_ * work_.flops_again;
    out_.time.dense =
        micro_batches() * (seconds(forward, dense.weights) +
                           seconds(2 * forward + again, dense.weights + dense.gradients));
    const auto& state = out_.memory.state;
    // ZeRO-1 leaves each rank its part of the update.
    const double share = layout_.zero1 ? 1 / of(cluster_.ranks()) : 1,
                 share_held = layout_.zero1 ? 1 / of(layout_.data) : 1;
    out_.time.optimizer = (share * (2 * dense.weights + dense.gradients) +
                           share_held * (2 * held_.weights + held_.gradients) + 2 * state.moments) /
                          cluster_.rank.memory_bandwidth;
  }

  /// An exchange in chunks: each of them waits for its own latency.
  Cost exchange(double bytes) const {
    return cluster::all_to_all(cluster_, sharing_, bytes / of(layout_.chunks)) * of(layout_.chunks);
  }

  void add(const Cost& cost, double times) {
    out_.inside_bytes += cost.inside_bytes * times;
    out_.between_bytes += cost.between_bytes * times;
  }

  /// The experts of each layer, and their exchanges.
  void add_exchanges() {
    const double times = micro_batches(), forwards = work_.recompute == "none" ? 1 : 2;
    for (const auto& layer : work_.layers) {
      const double flops = pairs(layer) * layer.flops_per_pair,
                   L = of(held(layer.experts, layout_.experts));
      const double forward = seconds(flops, L * layer.state.weights),
                   backward = seconds(2 * flops, L * (layer.state.weights + layer.state.gradients));
      out_.time.experts += times * (forwards * forward + backward);
      if (layout_.experts == 1) continue;
      const Cost counts = cluster::all_to_all(cluster_, sharing_, kIndexBytes * of(layer.experts)),
                 numbers = cluster::all_to_all(cluster_, sharing_, kIndexBytes * pairs(layer)),
                 rows = exchange(pairs(layer) * of(layer.width) * layout_.exchange_bytes);
      const auto behind = [&](double compute) {
        return cluster::overlapped(rows.seconds, compute, rows.seconds, layout_.chunks) - compute;
      };
      out_.time.exchange +=
          times *
          (forwards * (counts.seconds + numbers.seconds + behind(forward)) + behind(backward));
      add(counts, times * forwards);
      add(numbers, times * forwards);
      add(rows, times * 2 * (forwards + 1));
    }
    for (const auto& layer : work_.layers)
      add_sum(cluster::all_reduce(cluster_, all_, 2 * kIndexBytes * of(layer.experts)), times);
    add_sum(cluster::all_reduce(cluster_, all_, kIndexBytes), 5);
  }

  void add_sum(const Cost& cost, double times) {
    out_.time.sums += times * cost.seconds;
    add(cost, times);
  }

  using Collective = Cost (*)(const Cluster&, const Group&, double);
  void add_gradient(Collective collective, const Group& group, double bytes) {
    const double buckets = std::max(1.0, std::ceil(bytes / kBucketBytes));
    const Cost cost = collective(cluster_, group, bytes / buckets);
    out_.time.gradients += buckets * cost.seconds;
    add(cost, buckets);
  }

  void add_gradients() {
    const auto& dense = work_.replicated;
    if (!layout_.zero1) {
      add_gradient(cluster::all_reduce, all_, dense.gradients);
      add_gradient(cluster::all_reduce, copies_, held_.gradients);
      return;
    }
    add_gradient(cluster::reduce_scatter, all_, dense.gradients);
    add_gradient(cluster::all_gather, all_, dense.gradients);
    add_gradient(cluster::reduce_scatter, copies_, held_.gradients);
    add_gradient(cluster::all_gather, copies_, held_.gradients);
  }

  const Workload& work_;
  const Cluster& cluster_;
  const Layout layout_;
  const double imbalance_;
  const Group sharing_, all_, copies_;
  double tokens_ = 0;
  StateBytes held_ = {};  // experts of this rank
  LayoutPlan out_;
};

std::string gigabytes(double bytes) {
  std::ostringstream out;
  out.precision(3);
  out << bytes / 1e9 << " GB";
  return out.str();
}

}  // namespace

void PlanOptions::validate() const {
  check<ConfigError>(std::isfinite(imbalance) && imbalance >= 1 && imbalance <= 1e6, kPlaceOfPlan,
                     "expected an imbalance in [1, 1e6], got ", imbalance,
                     ". It is the busiest rank's pairs over the mean.");
  check<ConfigError>(!chunks.empty() && chunks.size() <= 64, kPlaceOfPlan,
                     "expected 1 to 64 numbers of chunks, got ", chunks.size(), ". Name some.");
  for (const int64_t count : chunks)
    check<ConfigError>(count >= 1 && count <= 1024, kPlaceOfPlan,
                       "expected chunks in [1, 1024], got ", count, ". Correct it.");
}

LayoutPlan evaluate(const Workload& workload, const Cluster& cluster, const Layout& layout,
                    const PlanOptions& options) {
  options.validate();
  check<ConfigError>(
      layout.experts >= 1 && layout.data >= 1 && layout.experts * layout.data == cluster.ranks(),
      kPlaceOfPlan, "expected experts x data to be the ", cluster.ranks(),
      " ranks of the cluster, got ", layout.experts, " x ", layout.data, ". Correct one.");
  return Evaluation(workload, cluster, layout, options).run();
}

std::vector<Layout> layouts_of(const Workload& workload, const Cluster& cluster,
                               const PlanOptions& options) {
  options.validate();
  const int64_t W = cluster.ranks();
  std::vector<Layout> out;
  for (int64_t P = 1; P <= std::min(W, workload.most_experts()); ++P) {
    if (W % P != 0) continue;
    for (const bool zero1 : {false, true}) {
      if (zero1 && W == 1) continue;
      for (const int64_t chunks : P > 1 ? options.chunks : std::vector<int64_t>{1})
        for (const double bytes : {workload.number_bytes, 2.0}) {
          if (bytes != workload.number_bytes && (P == 1 || bytes > workload.number_bytes)) continue;
          out.push_back({.experts = P,
                         .data = W / P,
                         .zero1 = zero1,
                         .chunks = chunks,
                         .exchange_bytes = bytes});
          if (workload.number_bytes == 2) break;
        }
    }
  }
  return out;
}

std::string why_too_large(const LayoutPlan& plan, double memory) {
  std::vector<std::pair<double, const char*>> parts = {
      {plan.memory.state.weights, "weights"},     {plan.memory.state.gradients, "gradients"},
      {plan.memory.state.moments, "moments"},     {plan.memory.activations, "activations"},
      {plan.memory.exchange, "exchange buffers"},
  };
  std::ranges::stable_sort(parts, [](const auto& a, const auto& b) { return a.first > b.first; });
  const auto& [most, name] = parts[0];
  if (most > memory)
    return concat(name, " alone take ", gigabytes(most), " of ", gigabytes(memory));
  return concat(gigabytes(plan.memory.total()), " are needed of ", gigabytes(memory),
                ", most of it ", name, " (", gigabytes(most), ") and ", parts[1].second, " (",
                gigabytes(parts[1].first), ')');
}

Plan make_plan(const Workload& workload, const Cluster& cluster, const PlanOptions& options) {
  Plan out;
  for (const auto& layout : layouts_of(workload, cluster, options)) {
    auto plan = evaluate(workload, cluster, layout, options);
    auto& list = plan.memory.total() <= cluster.rank.memory ? out.fits : out.too_large;
    list.push_back(plan);
  }
  std::ranges::stable_sort(out.fits, [](const LayoutPlan& a, const LayoutPlan& b) {
    return std::tuple(a.time.total(), a.memory.total()) <
           std::tuple(b.time.total(), b.memory.total());
  });
  std::ranges::stable_sort(out.too_large, [](const LayoutPlan& a, const LayoutPlan& b) {
    return a.memory.total() < b.memory.total();
  });
  return out;
}

}  // namespace moe::planning
