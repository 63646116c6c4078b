// moe bench tokenize: how fast a file of text becomes token ids.

#include "tools/moe/bench_tokenize.h"

#include <algorithm>
#include <ctime>
#include <iomanip>
#include <iostream>
#include <thread>

#include <moe/base/error.h>
#include <moe/base/files.h>
#include <moe/models/load.h>

#include "tools/moe/bench_timing.h"

namespace moe::tools {

namespace {

struct TokenizeBench {
  std::string text;
  std::string tokenizer;
  int64_t threads = 1;
  int64_t repeat = 10;
  int64_t warmup = 2;
  bool no_verify = false;
  bool json = false;
};

std::shared_ptr<const MappedFile> open_text(const std::string& path) {
  std::error_code error;
  check<ConfigError>(std::filesystem::is_regular_file(path, error), "bench",
                     "expected a file of text, found none at '", path, "'. Correct the path.");
  auto file = MappedFile::open(path);
  check<ConfigError>(!file->bytes().empty(), "bench", "expected text in '", path,
                     "', got an empty file. Give more.");
  return file;
}

/// Seconds that this thread computed.
double cpu_seconds() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double median_of(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[values.size() / 2];
}

Json speed_json(const Timing& timing, const std::vector<double>& cpu, double bytes,
                int64_t threads) {
  const double speed = bytes / timing.median() / 1e3;
  return {{"median_ms", timing.median()},
          {"cpu_ms", 1e3 * median_of(cpu)},
          {"min_ms", timing.min()},
          {"max_ms", timing.max()},
          {"megabytes_per_second", speed},
          {"megabytes_per_second_a_thread", speed / static_cast<double>(threads)}};
}

int bench_tokenize(const TokenizeBench& o) {
  check<ConfigError>(o.threads >= 1 && o.threads <= 1024, "bench",
                     "expected --threads in [1, 1024], got ", o.threads, ". Correct it.");
  const auto file = open_text(o.text);
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()),
                              file->bytes().size());
  const auto tokenizer = models::load_tokenizer(o.tokenizer, !o.no_verify);
  int64_t tokens = 0;
  // What others on the machine do is in the time and not in the processor's.
  std::vector<std::vector<double>> cpu(2);
  const auto encode = [&](size_t kept) {
    tokens = 0;
    const double begin = cpu_seconds();
    tokenizer->encode_in_parts(text, o.threads, [&](std::span<const int64_t> ids) {
      tokens += static_cast<int64_t>(ids.size());
    });
    cpu[kept].push_back(cpu_seconds() - begin);
  };
  // The cache of words belongs to a thread, so a new one has met none.
  std::vector<Work> works(1);
  works[0].once = [&] { std::thread(encode, 0).join(); };
  if (o.threads == 1) {  // several threads are new ones each time
    works.emplace_back();
    works[1].once = [&] { encode(1); };
  }
  const auto timings = time_in_turn(works, {o.repeat, o.warmup});
  const auto bytes = static_cast<double>(text.size());
  Json out;
  out["cold"] = speed_json(timings[0], cpu[0], bytes, o.threads);
  if (timings.size() > 1) out["warm"] = speed_json(timings[1], cpu[1], bytes, o.threads);
  out["bytes"] = text.size();
  out["tokens"] = tokens;
  out["work"] = {{"text", o.text},       {"tokenizer", tokenizer->name()},
                 {"threads", o.threads}, {"vocabulary", tokenizer->vocabulary()},
                 {"cpu", cpu_name()},    {"repeat", o.repeat}};
  if (o.json) {
    print_json(out);
    return 0;
  }
  std::cout << std::fixed << std::setprecision(1);
  for (const char* cache : {"cold", "warm"})
    if (out.contains(cache))
      std::cout << cache << " cache: " << out[cache]["megabytes_per_second"].get<double>()
                << " MB/s  (median " << out[cache]["median_ms"].get<double>() << " ms)\n";
  std::cout << grouped(static_cast<int64_t>(text.size())) << " bytes, " << grouped(tokens)
            << " tokens, " << o.threads << " threads, " << cpu_name() << '\n';
  return 0;
}

void setup_bench_tokenize(CLI::App& app, TokenizeBench& o) {
  app.add_option("TEXT", o.text, "file of text to encode")->required();
  app.add_option("--tokenizer", o.tokenizer, "a tokenizer.json, a run or a checkpoint")->required();
  add_no_verify(app, o.no_verify);
  app.add_option("--threads", o.threads, "threads that encode")->capture_default_str();
  app.add_option("--repeat", o.repeat, "timed repetitions")->capture_default_str();
  app.add_option("--warmup", o.warmup, "repetitions before these")->capture_default_str();
  add_json(app, o.json);
}

}  // namespace

void add_bench_tokenize(CLI::App& group, Session& session) {
  add_command<TokenizeBench>(
      group, session,
      {"tokenize",
       "Encoding a file of text, by threads that have met no word (cold) and by one that has met "
       "all (warm).",
       "moe tokenize --train out/demo/data/english/train.txt --vocabulary 400 --out tokenizer.json "
       "&& "
       "moe bench tokenize out/demo/data/english/valid.txt --tokenizer tokenizer.json   # after "
       "make "
       "demo",
       setup_bench_tokenize, bench_tokenize});
}

}  // namespace moe::tools
