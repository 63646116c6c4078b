// moe bench suite: layers of many shapes against dense blocks and against the machine's limits.
#include "tools/moe/bench_suite.h"

#include <fstream>
#include <iomanip>
#include <iostream>

#include <ATen/Parallel.h>

#include <moe/base/date.h>
#include <moe/base/error.h>
#include <moe/base/log.h>

#include "tools/moe/bench_layer.h"
#include "tools/moe/bench_paths.h"
#include "tools/moe/bench_suite_rows.h"

namespace moe::tools {

namespace {

struct SuiteBench : BenchCommon {
  std::vector<std::string> groups = suite_groups();
  std::string out;
  double seconds = 5;
  int64_t smaller = 1;
  bool full = false;
};

void setup_suite(CLI::App& app, SuiteBench& o) {
  app.add_option("--groups", o.groups, "parts to run, separated by commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->default_str("table,skew,scaling,sets,paths");
  app.add_flag("--full", o.full,
               "every mode, type and step: about an hour on two cores, and 14 GB");
  app.add_option("--out", o.out, "also write the results there, for `moe bench report`")
      ->type_name("FILE.jsonl");
  app.add_option("--seconds", o.seconds,
                 "for one measurement; three repetitions are made in any case")
      ->capture_default_str();
  app.add_option("--smaller", o.smaller,
                 "divide tokens, widths and experts by this: to try the suite itself")
      ->capture_default_str();
  add_repeats(app, o);
  add_threads(app, o.threads);
  add_seed(app, o.seed);
  app.add_flag("--json", o.json, "print one JSON document a line");
}

/// Where results go: standard output for people or programs, and a file of lines.
class Results {
 public:
  explicit Results(const SuiteBench& o) : json_(o.json) {
    if (o.out.empty()) return;
    file_.open(o.out, std::ios::trunc);
    check<ConfigError>(file_.is_open(), "--out", "expected a file that can be written, got '",
                       o.out, "'. Name one in a folder that is there.");
  }

  /// `text` is the same for people; "" for nothing.
  void add(const Json& line, const std::string& text) {
    const std::string written = line.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (json_)
      std::cout << written << std::endl;
    else if (!text.empty())
      std::cout << text << std::endl;
    if (!file_.is_open()) return;
    file_ << written << std::endl;
    check(file_.good(), "--out", "expected room for the results, found none left. Free some.");
  }

 private:
  bool json_;
  std::ofstream file_;
};

Json head_of(const SuiteBench& o) {
  return {{"suite",
           {{"date", date_now()},
            {"version", MOE_VERSION},
            {"cpu", cpu_name()},
            {"threads", at::get_num_threads()},
            {"instruction_set", ops::cpu::instruction_sets_in_use()},
            {"full", o.full},
            {"smaller", o.smaller},
            {"repeat", o.repeat},
            {"seconds", o.seconds},
            {"limits", limits_json(limits_of_this_machine())}}}};
}

Json row_json(const SuiteRow& row) {
  const auto& o = row.layer;
  return {{"group", row.group}, {"tokens", o.tokens},   {"d_model", o.d_model},
          {"d_ff", o.d_ff},     {"experts", o.experts}, {"top_k", o.top_k},
          {"mode", o.mode},     {"dtype", o.dtype},     {"routing", o.routing}};
}

std::string title_of(const SuiteRow& row) {
  const auto& o = row.layer;
  std::ostringstream out;
  out << std::left << std::setw(8) << row.group << std::setw(24)
      << concat(o.tokens, "x", o.d_model, "x", o.d_ff, " ", o.experts, "/", o.top_k) << std::setw(8)
      << o.mode << std::setw(9) << o.dtype << std::setw(9) << o.routing;
  return out.str();
}

std::string numbers_of(const Timing& timing, const Work& work) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << std::right << std::setw(10) << timing.median()
      << " ms";
  if (work.bound) out << std::setw(7) << timing.median() / work.bound->ms() << " x bound";
  if (const auto wait = timing.wait())
    out << std::setw(6) << std::setprecision(1) << 100 * *wait << " % wait";
  return out.str();
}

Json with_spread(Json line, const Work& layer) {
  line["experts_used"] = layer.shapes["experts_used"];
  line["busiest_share"] = layer.shapes["busiest_share"];
  return line;
}

/// The layer and its dense block, in turn.
void against_dense(const SuiteRow& row, const Repeats& repeats, Results& results) {
  const std::vector<Work> works = {layer_work(row.layer), dense_work(row.layer)};
  const auto timings = time_in_turn(works, repeats);
  Json line = with_spread(row_json(row), works[0]);
  const double ratio = timings[0].median() / timings[1].median();
  line["layer"] = timing_json(timings[0], works[0], row.layer);
  line["dense"] = timing_json(timings[1], works[1], row.layer);
  line["over_dense"] = ratio;
  std::ostringstream text;
  text << title_of(row) << numbers_of(timings[0], works[0]) << std::fixed << std::setprecision(2)
       << "   dense " << timings[1].median() << " ms, layer/dense " << ratio;
  results.add(line, text.str());
}

/// The same layer under several instruction sets, in turn.
void across_sets(const SuiteRow& row, const Repeats& repeats, Results& results) {
  const auto before = ops::cpu::forced_instruction_set();
  const Work layer = layer_work(row.layer);
  std::vector<Work> works;
  for (const auto set : row.sets) {
    Work work = layer;
    work.kernels = ops::cpu::name_of(set);
    work.once = [set, once = layer.once] {
      ops::cpu::force_instruction_set(set);
      once();
    };
    works.push_back(std::move(work));
  }
  const auto timings = time_in_turn(works, repeats);
  for (size_t i = 0; i < works.size(); ++i) {
    ops::cpu::force_instruction_set(row.sets[i]);
    works[i].peak_gflops = ops::cpu::measured_peak(parse_dtype(row.layer.dtype));
    Json line = with_spread(row_json(row), layer);
    line["layer"] = timing_json(timings[i], works[i], row.layer);
    results.add(line, concat(title_of(row), numbers_of(timings[i], works[i]), "   ",
                             ops::cpu::name_of(row.sets[i])));
  }
  ops::cpu::force_instruction_set(before);
}

/// The layer by the kernels chosen for it and by all others; whether the choice was right.
bool across_paths(const SuiteRow& row, const Repeats& repeats, Results& results) {
  const PathComparison paths = compare_paths(row.layer, repeats);
  Json line = with_spread(row_json(row), paths.layer);
  line["layer"] = timing_json(paths.timing, paths.layer, row.layer);
  line["paths"] = paths_json(paths);
  results.add(
      line, concat(title_of(row), numbers_of(paths.timing, paths.layer), "   ", paths_text(paths)));
  return !paths.is_slow();
}

/// Why a row cannot run here; "" when it can.
std::string obstacle(const SuiteRow& row) {
  const int64_t wanted = layer_bytes(row.layer), left = ops::cpu::available_memory();
  if (left < 0 || wanted < left / 10 * 9) return "";
  return concat("wants ", wanted >> 20, " MiB of memory, ", left >> 20, " MiB are left");
}

int run_suite(const SuiteBench& o) {
  for (const auto& group : o.groups) check_one_of("bench", "--groups", group, suite_groups());
  check<ConfigError>(o.smaller >= 1 && o.smaller <= 4096, "bench",
                     "expected --smaller in [1, 4096], got ", o.smaller, ". Correct it.");
  check<ConfigError>(o.seconds > 0 && o.seconds <= 3600, "bench",
                     "expected --seconds in (0, 3600], got ", o.seconds, ". Correct it.");
  const Repeats repeats{o.repeat, o.warmup, o.seconds};
  check_repeats(repeats);
  use_threads(o.threads);
  Results results(o);
  const auto& limits = limits_of_this_machine();
  std::ostringstream head;
  head << cpu_name() << ", " << at::get_num_threads() << " threads, "
       << ops::cpu::instruction_sets_in_use() << std::fixed << std::setprecision(0) << "\nfloat32 "
       << limits.float32 << " GFLOP/s, bfloat16 " << limits.bfloat16 << " GFLOP/s, int8 "
       << limits.int8 << " GOP/s, read " << std::setprecision(1) << limits.read
       << " GB/s\n\npart    TxDxF E/K               mode    type     routing"
       << "         median";
  results.add(head_of(o), head.str());
  int64_t choices = 0, right = 0;
  for (auto row : suite_rows(o.groups, o.full, o.smaller)) {
    row.layer.seed = o.seed;
    row.layer.repeat = o.repeat;
    if (const std::string reason = obstacle(row); !reason.empty()) {
      Json line = row_json(row);
      line["skipped"] = reason;
      results.add(line, title_of(row) + "   skipped: " + reason);
      continue;
    }
    if (row.group == "paths") {
      ++choices;
      right += across_paths(row, repeats, results) ? 1 : 0;
    } else {
      row.sets.empty() ? against_dense(row, repeats, results) : across_sets(row, repeats, results);
    }
  }
  if (choices > 0 && !o.json)
    std::cout << "kernels chosen for this processor: in " << right << " of " << choices
              << " rows no other set is faster by more than 5 %\n";
  return 0;
}

}  // namespace

void add_bench_suite(CLI::App& group, Session& session) {
  add_command<SuiteBench>(
      group, session,
      {"suite",
       "Layers of many shapes against dense blocks of equal active work and against the limits of "
       "this machine, which are measured first.",
       "moe bench suite --smaller 64 --out bench.jsonl   # make bench runs it at full size",
       setup_suite, run_suite});
}

}  // namespace moe::tools
