// moe bench report: what the suite found, as a page with pictures.
#include <iostream>

#include <moe/base/error.h>
#include <report/bench/page.h>

#include "tools/moe/bench_suite.h"
#include "tools/moe/common.h"

namespace moe::tools {

namespace {

struct BenchReport {
  std::vector<std::string> files;
  std::string out = "bench.html";
};

void setup_bench_report(CLI::App& app, BenchReport& o) {
  app.add_option("RESULTS.jsonl", o.files,
                 "what `moe bench suite --out` wrote, and benchmarks/peers/time_layers.py")
      ->required();
  app.add_option("--out", o.out, "the page to write")
      ->type_name("FILE.html")
      ->capture_default_str();
}

int run_bench_report(const BenchReport& o) {
  std::vector<Path> files;
  for (const auto& file : o.files) {
    check_input_file("RESULTS.jsonl", file);
    files.emplace_back(file);
  }
  const auto results = report::bench::read_results(files);
  const std::string page = report::bench::render(results);
  write_file_atomically(real_files(), o.out, [&](OutputFile& file) { file.write(bytes_of(page)); });
  std::cout << o.out << ": " << results.rows.size() << " measurements, " << results.peers.size()
            << " of peers\n";
  return 0;
}

}  // namespace

void add_bench_report(CLI::App& group, Session& session) {
  add_command<BenchReport>(
      group, session,
      {"report",
       "A page of what the suite found: roofline, scaling with the number of experts, tables.",
       "moe bench suite --smaller 64 --out bench.jsonl && moe bench report bench.jsonl "
       "--out bench.html",
       setup_bench_report, run_bench_report});
}

}  // namespace moe::tools
