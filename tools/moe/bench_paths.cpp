#include "tools/moe/bench_paths.h"

#include <algorithm>
#include <iomanip>
#include <optional>
#include <sstream>

#include <moe/ops/cpu/instruction_set.h>

namespace moe::tools {

namespace {

using Forced = std::optional<ops::cpu::InstructionSet>;

/// Whoever is this many times as slow as the fastest in one pass is not timed again.
constexpr double kHopeless = 2;

/// The same work with a set forced, or with the choice of the process.
Work under(const Work& layer, Forced set) {
  Work out = layer;
  if (set) out.kernels = ops::cpu::name_of(*set);
  out.once = [set, once = layer.once] {
    ops::cpu::force_instruction_set(set);
    once();
  };
  return out;
}

/// Milliseconds of the second pass: the first makes plans and touches memory.
double second_pass(const Work& work) {
  work.once();
  return take_sample(work).ms;
}

}  // namespace

const PathTime& PathComparison::fastest_other() const {
  return *std::min_element(others.begin(), others.end(),
                           [](const PathTime& a, const PathTime& b) { return a.ms < b.ms; });
}

PathComparison compare_paths(const LayerBench& o, const Repeats& repeats) {
  const Forced before = ops::cpu::forced_instruction_set();
  PathComparison out;
  out.layer = layer_work(o);
  out.chosen = out.layer.kernels;
  std::vector<Work> works = {under(out.layer, before)};
  for (const auto set : ops::cpu::available_instruction_sets())
    if (ops::cpu::name_of(set) != out.chosen) works.push_back(under(out.layer, set));

  std::vector<double> first;
  for (const Work& work : works) first.push_back(second_pass(work));
  const double limit = kHopeless * *std::min_element(first.begin(), first.end());
  std::vector<Work> close;
  for (size_t i = 0; i < works.size(); ++i) {
    if (i == 0 || first[i] <= limit)
      close.push_back(works[i]);
    else
      out.others.push_back({works[i].kernels, first[i], /*once=*/true});
  }
  const auto timings = time_in_turn(close, repeats);
  out.timing = timings[0];
  for (size_t i = 1; i < close.size(); ++i)
    out.others.push_back({close[i].kernels, timings[i].median()});
  ops::cpu::force_instruction_set(before);
  return out;
}

Json paths_json(const PathComparison& paths) {
  Json others = Json::array();
  for (const PathTime& path : paths.others)
    others.push_back(
        {{"instruction_set", path.set}, {"median_ms", path.ms}, {"timed_once", path.once}});
  return {{"chosen", paths.chosen},
          {"fastest_other", paths.fastest_other().set},
          {"over_fastest", paths.over_fastest()},
          {"slower_than_another", paths.is_slow()},
          {"others", others}};
}

std::string paths_text(const PathComparison& paths) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << "chosen " << paths.chosen;
  for (const PathTime& path : paths.others) out << ", " << path.set << ' ' << path.ms << " ms";
  out << ": ";
  if (paths.is_slow())
    out << "SLOWER than " << paths.fastest_other().set << ", " << paths.over_fastest() << " times";
  else
    out << "no other is faster by more than " << std::setprecision(0)
        << 100 * (kChoiceTolerance - 1) << " %";
  return out.str();
}

}  // namespace moe::tools
