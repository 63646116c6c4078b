// W ranks, P of a group.
#include "tools/moe/exchange_timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>

#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <moe/ops/cpu/peak.h>

namespace moe::tools {

namespace {

using at::Tensor;
using Group = std::shared_ptr<parallel::Communicator>;

constexpr const char* kPlaceOfExchange = "bench exchange";
constexpr int64_t kMatrix = 512;
constexpr int64_t kReadBytes = int64_t{64} << 20;
constexpr int64_t kNumber = 4;  // bytes of a float

double over_ranks(double value, parallel::Communicator& group, parallel::Reduce reduce) {
  Tensor all = at::full({}, value, at::kDouble);
  group.all_reduce(all, reduce);
  return all.item<double>();
}

/// Median over repetitions of the seconds of the slowest rank.
double median_seconds(const std::function<void()>& work, parallel::Communicator& all,
                      const ExchangeBench& o) {
  std::vector<double> seconds;
  for (int64_t i = 0; i < o.warmup + o.repeat; ++i) {
    all.barrier();
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    const double slowest = over_ranks(took.count(), all, parallel::Reduce::kMax);
    if (i >= o.warmup) seconds.push_back(slowest);
  }
  std::ranges::nth_element(seconds, seconds.begin() + static_cast<int64_t>(seconds.size()) / 2);
  return std::max(1e-9, seconds[seconds.size() / 2]);
}

/// `at_once`: groups that share the link; what the fit says is of all of them.
MeasuredLink measure_link(parallel::Communicator& group, parallel::Communicator& all,
                          double at_once, const ExchangeBench& o) {
  const int64_t P = group.size();
  const double others = static_cast<double>(P - 1), share = others / static_cast<double>(P);
  MeasuredLink out;
  for (const int64_t bytes : o.bytes) {
    const int64_t each = std::max<int64_t>(1, bytes / kNumber / P);
    const Tensor rows = at::ones({each * P, 1});
    const std::vector<int64_t> counts(static_cast<size_t>(P), each);
    const auto sent = static_cast<double>(each * P * kNumber);
    out.all_to_all.timed.push_back(
        {.latencies = others,
         .bytes = at_once * sent * share,
         .seconds = median_seconds([&] { group.all_to_all_v(rows, counts, counts); }, all, o)});
    Tensor values = at::ones({each * P});
    out.all_reduce.timed.push_back(
        {.latencies = 2 * std::ceil(std::log2(static_cast<double>(P))),
         .bytes = at_once * 2 * sent * share,
         .seconds = median_seconds([&] { group.all_reduce(values); }, all, o)});
  }
  out.all_to_all.fit = cluster::fit_link(out.all_to_all.timed);
  out.all_reduce.fit = cluster::fit_link(out.all_reduce.timed);
  // Ranks time themselves: what all of them write down is what the first one found.
  for (auto* found : {&out.all_to_all, &out.all_reduce}) {
    found->fit.latency = over_ranks(found->fit.latency, all, parallel::Reduce::kMax);
    found->fit.bandwidth = over_ranks(found->fit.bandwidth, all, parallel::Reduce::kMax);
  }
  return out;
}

cluster::Link link_of(const MeasuredLink& measured) {
  return {.latency = measured.all_to_all.fit.latency,
          .bandwidth = measured.all_to_all.fit.bandwidth,
          .reduce_latency = measured.all_reduce.fit.latency,
          .reduce_bandwidth = measured.all_reduce.fit.bandwidth};
}

/// FLOP/s that every rank gets while all multiply.
double product_rate(at::ScalarType type, parallel::Communicator& all, const ExchangeBench& o) {
  const Tensor a = at::ones({kMatrix, kMatrix}, type), b = at::ones({kMatrix, kMatrix}, type);
  const double seconds = median_seconds([&] { at::mm(a, b); }, all, o);
  return 2.0 * kMatrix * kMatrix * kMatrix / seconds;
}

cluster::Processor measure_rank(parallel::Communicator& all, int64_t ranks_per_node,
                                const ExchangeBench& o) {
  cluster::Processor out;
  out.float32 = product_rate(at::kFloat, all, o);
  out.bfloat16 = product_rate(at::kBFloat16, all, o);
  out.float64 = product_rate(at::kDouble, all, o);
  const Tensor values = at::ones({kReadBytes / kNumber});
  out.memory_bandwidth =
      static_cast<double>(kReadBytes) / median_seconds([&] { values.sum(); }, all, o);
  const int64_t free = ops::cpu::available_memory();
  check(free > 0, kPlaceOfExchange,
        "expected the system to say how much memory is free, it does not. Write the cluster file "
        "by hand.");
  out.memory =
      -over_ranks(-static_cast<double>(free / ranks_per_node), all, parallel::Reduce::kMax);
  return out;
}

Json collective_json(const MeasuredCollective& measured) {
  Json timed = Json::array();
  for (const auto& [latencies, bytes, seconds] : measured.timed)
    timed.push_back(
        {{"bytes", bytes},
         {"seconds", seconds},
         {"predicted_seconds", latencies * measured.fit.latency + bytes / measured.fit.bandwidth}});
  return {{"latency", measured.fit.latency},
          {"bandwidth", measured.fit.bandwidth},
          {"worst_error", measured.fit.worst},
          {"timed", timed}};
}

void print_link(const char* name, const MeasuredLink& link) {
  for (const auto& [what, measured] :
       {std::pair{"all-to-all", &link.all_to_all}, {"all-reduce", &link.all_reduce}}) {
    std::printf("%s, %s: latency %.3g us, bandwidth %.4g GB/s; off by %.0f %% at most\n", name,
                what, 1e6 * measured->fit.latency, measured->fit.bandwidth / 1e9,
                100 * measured->fit.worst);
    for (const auto& [latencies, bytes, seconds] : measured->timed)
      std::printf("  %12s bytes sent  %10.1f us\n", grouped(std::llround(bytes)).c_str(),
                  1e6 * seconds);
  }
}

}  // namespace

void ExchangeBench::validate(int64_t ranks) const {
  check<ConfigError>(bytes.size() >= 2, kPlaceOfExchange,
                     "expected at least two sizes of messages, got ", bytes.size(),
                     ". Name short and long ones.");
  for (const int64_t size : bytes)
    check<ConfigError>(size >= 1 && size <= int64_t{1} << 32, kPlaceOfExchange,
                       "expected sizes in [1, 2^32] bytes, got ", size, ". Correct it.");
  const auto [least, most] = std::ranges::minmax(bytes);
  check<ConfigError>(most >= 8 * std::max(least, ranks * kNumber), kPlaceOfExchange,
                     "expected sizes that differ by a factor of 8 above ", ranks * kNumber,
                     " bytes, got ", least, " to ", most, ". Name longer messages.");
  check<ConfigError>(repeat >= 1 && repeat <= 100000 && warmup >= 0 && warmup <= 100000,
                     kPlaceOfExchange, "expected 1 to 100000 repetitions, got ", repeat, " and ",
                     warmup, " for warm-up. Correct them.");
  check<ConfigError>(nodes >= 1 && ranks % nodes == 0, kPlaceOfExchange,
                     "expected nodes that divide the ", ranks, " ranks, got ", nodes,
                     ". Correct it.");
}

MeasuredExchange measure_exchange(const Group& group, const ExchangeBench& options) {
  options.validate(group->size());
  const int64_t R = group->size() / options.nodes;
  MeasuredExchange out;
  out.cluster.nodes = options.nodes;
  out.cluster.ranks_per_node = R;
  const auto inside = group->split(group->rank() / R, group->rank()),
             between = group->split(group->rank() % R, group->rank());
  if (R > 1) {
    out.inside = measure_link(*inside, *group, 1, options);
    out.cluster.inside = link_of(out.inside);
  }
  if (options.nodes > 1) {
    out.between = measure_link(*between, *group, static_cast<double>(R), options);
    out.cluster.between = link_of(out.between);
  }
  out.cluster.rank = measure_rank(*group, R, options);
  return out;
}

Json exchange_json(const MeasuredExchange& measured) {
  const auto& c = measured.cluster;
  const auto link = [](bool there, const MeasuredLink& found) -> Json {
    if (!there) return nullptr;
    return {{"all_to_all", collective_json(found.all_to_all)},
            {"all_reduce", collective_json(found.all_reduce)}};
  };
  return {{"processor", cpu_name()},
          {"ranks", c.ranks()},
          {"nodes", c.nodes},
          {"rank",
           {{"float32", c.rank.float32},
            {"bfloat16", c.rank.bfloat16},
            {"float64", c.rank.float64},
            {"memory", c.rank.memory},
            {"memory_bandwidth", c.rank.memory_bandwidth}}},
          {"inside", link(c.ranks_per_node > 1, measured.inside)},
          {"between", link(c.nodes > 1, measured.between)}};
}

void print_exchange(const MeasuredExchange& measured) {
  const auto& c = measured.cluster;
  std::printf("%s, %lld ranks on %lld node(s)\n", cpu_name().c_str(),
              static_cast<long long>(c.ranks()), static_cast<long long>(c.nodes));
  std::printf(
      "a rank: %.4g GFLOP/s float32, %.4g bfloat16, %.4g float64; reads %.4g GB/s; %.4g GB "
      "free\n",
      c.rank.float32 / 1e9, c.rank.bfloat16 / 1e9, c.rank.float64 / 1e9,
      c.rank.memory_bandwidth / 1e9, c.rank.memory / 1e9);
  if (c.ranks_per_node > 1) print_link("inside a node", measured.inside);
  if (c.nodes > 1) print_link("between nodes", measured.between);
}

}  // namespace moe::tools
