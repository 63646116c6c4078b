#pragma once
// Reports of runs that never ran: made up data of any size.

#include <cmath>
#include <string>

#include <report/data.h>

namespace moe::test {

/// Text that tries to leave wherever it is put.
inline const std::string kHostile =
    "</script><script>window.hacked = 1</script>\"'><img src=x onerror=\"window.hacked = 1\">&amp;"
    "\x01\xFF\xC3 \xE2\x80\xA8 ]]> --> @report_css@";

/// A log of `steps` logged steps with `layers` MoE layers of `experts` experts; expert 0 takes
/// twice the even share, expert 1 nothing.
inline analyze::RunLog made_up_log(int64_t steps, int64_t layers, int64_t experts) {
  analyze::RunLog log;
  for (int64_t i = 1; i <= steps; ++i) {
    analyze::LoggedStep step;
    step.step = 10 * i;
    step.tokens = 1000 * i;
    step.seconds = 0.5 * static_cast<double>(i);
    step.task_loss = 1 + 4 / std::sqrt(static_cast<double>(i));
    step.loss = step.task_loss + 0.01;
    step.grad_norm = 1;
    step.lr = 1e-3;
    step.tokens_per_second = 2000;
    step.balance = {{"switch", 1.5}};
    for (int64_t l = 0; l < layers; ++l) {
      analyze::LoggedLayer layer;
      layer.layer = 2 * l;
      layer.load_E.assign(static_cast<size_t>(experts), 1.0 / static_cast<double>(experts));
      if (experts > 1) {
        layer.load_E[0] *= 2;
        layer.load_E[1] = 0;
      }
      layer.max_over_mean = 2;
      layer.entropy = 0.9;
      layer.dropped = 3;
      layer.unused = 1;
      step.layers.push_back(layer);
    }
    log.steps.push_back(step);
    if (i % 5 == 0)
      log.evaluations.push_back(
          {step.step, step.seconds, step.task_loss + 0.1, {}, {{"a", 2}, {"b", 3}}});
  }
  return log;
}

/// A study of made-up routing: in every layer, expert e takes 1 + (e + d) % 3 pairs of domain d.
inline report::RoutingStudy made_up_study(int64_t layers, int64_t experts,
                                          std::vector<std::string> domains) {
  report::RoutingStudy study;
  study.step = 100;
  study.tokens = 512;
  auto& all = study.specialisation;
  all.domains = domains;
  all.rows = 64;
  all.permutations = 1000;
  const auto E = static_cast<size_t>(experts);
  for (int64_t l = 0; l < layers; ++l) {
    analyze::LayerSpecialisation layer;
    layer.layer = 2 * l;
    layer.load_E.assign(E, 1.0 / static_cast<double>(experts));
    for (size_t d = 0; d < domains.size(); ++d) {
      layer.counts_DE.emplace_back();
      for (size_t e = 0; e < E; ++e)
        layer.counts_DE.back().push_back(static_cast<int64_t>(1 + (e + d) % 3));
    }
    layer.normalised = 0.125;
    layer.p_value = 0.001;
    layer.above = true;
    all.layers.push_back(layer);
    analyze::LayerStatistics statistics;
    statistics.layer = 2 * l;
    statistics.experts = experts;
    statistics.load_E.assign(E, 10);
    statistics.tokens_E.assign(E, 10);
    analyze::CountTableBuilder together(experts, experts, "together", 1 << 22);
    analyze::CountTableBuilder positions(experts, 16, "positions", 1 << 22);
    for (int64_t e = 0; e + 1 < experts; ++e) {
      together.add(e, e + 1);
      positions.add(e, e % 16);
    }
    statistics.together_EE = std::move(together).finish();
    statistics.counts_EP = std::move(positions).finish();
    study.statistics.layers.push_back(std::move(statistics));
    study.typical_LE.emplace_back(E, std::vector<report::TypicalToken>{{kHostile, 0.5, 2}});
  }
  for (const auto& domain : domains) {
    report::Passage passage;
    passage.domain = domain;
    passage.text_T = {kHostile, "", "b", "\n", " "};
    for (int64_t l = 0; l < layers; ++l) {
      passage.choices_LT.emplace_back();
      for (int64_t t = 0; t < 5; ++t)
        passage.choices_LT.back().push_back(
            {{(t + l) % experts, 0.75}, {(t + l + 1) % experts, 0.25}});
      passage.choices_LT.back().back().clear();  // nobody took the last one
    }
    study.passages.push_back(std::move(passage));
  }
  return study;
}

inline report::ReportData made_up_report(int64_t steps, int64_t layers, int64_t experts) {
  report::ReportData data;
  data.title = "made up";
  data.run.log = made_up_log(steps, layers, experts);
  data.run.planned_steps = 10 * steps;
  data.run.domains = {"a", "b"};
  data.run.config = "[train]\nsteps = 1\n";
  if (layers > 0) data.study = made_up_study(layers, experts, {"a", "b"});
  data.machine = {"a processor", 1, "0.0", "2026-01-01"};
  return data;
}

}  // namespace moe::test
