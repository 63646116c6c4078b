// moe bench exchange: what the links between ranks and the ranks themselves do, as a cluster file.

#include <ATen/Parallel.h>

#include <moe/base/files.h>
#include <moe/base/log.h>
#include <moe/parallel/threads.h>

#include "tools/moe/exchange_timing.h"

namespace moe::tools {

namespace {

struct ExchangeCommand {
  ExchangeBench bench;
  int64_t ranks = 2, threads = 0;
  std::string out;
  bool json = false;
};

void setup_exchange(CLI::App& app, ExchangeCommand& o) {
  app.add_option("--ranks", o.ranks, "ranks, threads of this process")
      ->type_name("W")
      ->capture_default_str();
  app.add_option("--nodes", o.bench.nodes,
                 "measure as if the ranks lay on so many machines; those of one process do not")
      ->capture_default_str();
  app.add_option("--bytes", o.bench.bytes, "sizes of messages")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--repeat", o.bench.repeat, "timed repetitions")->capture_default_str();
  app.add_option("--warmup", o.bench.warmup, "untimed repetitions before")->capture_default_str();
  app.add_option("--out", o.out, "write the cluster file that moe plan and moe place read")
      ->type_name("CLUSTER.toml");
  add_threads(app, o.threads);
  add_json(app, o.json);
}

int bench_exchange(const ExchangeCommand& o) {
  check<ConfigError>(o.ranks >= 1 && o.ranks <= 1024, "--ranks",
                     "expected ranks in [1, 1024], got ", o.ranks, ". Correct it.");
  o.bench.validate(o.ranks);
  use_threads(o.threads);
  MeasuredExchange measured;
  parallel::run_ranks(o.ranks, [&](const std::shared_ptr<parallel::Communicator>& group) {
    auto found = measure_exchange(group, o.bench);
    if (group->rank() == 0) measured = std::move(found);
  });
  measured.cluster.name = concat(o.ranks, " ranks as threads on ", cpu_name());
  if (!o.out.empty()) {
    const std::string text = cluster::write_cluster(
        measured.cluster,
        concat("Written by moe bench exchange --ranks ", o.ranks, ", ", at::get_num_threads(),
               " threads. Medians of ", o.bench.repeat, "."));
    write_file_atomically(real_files(), o.out,
                          [&](OutputFile& file) { file.write(bytes_of(text)); });
    log::info(concat("cluster: ", o.out));
  }
  if (o.json)
    print_json(exchange_json(measured));
  else
    print_exchange(measured);
  return 0;
}

}  // namespace

void add_bench_exchange(CLI::App& group, Session& session) {
  add_command<ExchangeCommand>(
      group, session,
      {"exchange", "Latency and bandwidth between ranks, FLOP/s and memory of each.",
       "moe bench exchange --ranks 2 --out here.toml", setup_exchange, bench_exchange});
}

}  // namespace moe::tools
