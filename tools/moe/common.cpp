#include "tools/moe/common.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sched.h>
#include <thread>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <moe/base/error.h>
#include <moe/config/overrides.h>

namespace moe::tools {

namespace {

/// Cores that the control group grants (cgroup v2 cpu.max: "quota period"), or a large number.
int64_t quota_cores() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (file >> quota >> period && quota > 0 && period > 0)
    return std::max<int64_t>(1, static_cast<int64_t>(quota / period + 0.5));
  return int64_t{1} << 20;
}

}  // namespace

int64_t usable_cores() {
  cpu_set_t set;
  const int64_t allowed = ::sched_getaffinity(0, sizeof set, &set) == 0
                              ? CPU_COUNT(&set)
                              : static_cast<int64_t>(std::thread::hardware_concurrency());
  return std::max<int64_t>(1, std::min(allowed, quota_cores()));
}

void add_threads(CLI::App& app, int64_t& threads) {
  app.add_option_function<int64_t>(
         "--threads",
         [&threads](const int64_t& number) {
           check<ConfigError>(number >= 1 && number <= 4096, "--threads",
                              "expected a number of threads in [1, 4096], got ", number,
                              ". Leave the option out to use all ", usable_cores(), " cores.");
           threads = number;
         },
         "threads to compute with; default: the cores the process may use")
      ->type_name("N");
}

void use_threads(int64_t threads) {
  at::set_num_threads(static_cast<int>(threads > 0 ? threads : usable_cores()));
}

void add_dtype(CLI::App& app, std::string& dtype) {
  app.add_option("--dtype", dtype, "float32, bfloat16 or float64")
      ->type_name("TYPE")
      ->capture_default_str();
}

at::ScalarType parse_dtype(const std::string& dtype) {
  check_one_of("--dtype", "the type", dtype, {"float32", "bfloat16", "float64"});
  if (dtype == "bfloat16") return at::kBFloat16;
  return dtype == "float64" ? at::kDouble : at::kFloat;
}

void add_device(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "cpu, cuda or cuda:INDEX")
      ->type_name("DEVICE")
      ->capture_default_str();
}

at::Device parse_device(const std::string& device) {
  if (device == "cpu") return at::kCPU;
  const bool numbered =
      device.rfind("cuda:", 0) == 0 && device.size() > 5 && device.size() < 8 &&
      std::all_of(device.begin() + 5, device.end(), [](char c) { return c >= '0' && c <= '9'; });
  check<ConfigError>(device == "cuda" || numbered, "--device",
                     "expected cpu, cuda or cuda:INDEX, got '", device, "'. Choose one of them.");
  check<ConfigError>(at::hasCUDA(), "--device", "expected a libtorch that can use a GPU for '",
                     device,
                     "', got one that cannot (no CUDA, or no driver). Use --device cpu, or "
                     "build with MOE_TORCH naming a CUDA libtorch.");
  const int index = numbered ? std::stoi(device.substr(5)) : 0;
  const int count = at::detail::getCUDAHooks().deviceCount();
  check<ConfigError>(index < count, "--device", "expected a GPU below cuda:", count, ", got '",
                     device, "'. Choose one that is there.");
  return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

void add_seed(CLI::App& app, int64_t& seed) {
  app.add_option("--seed", seed, "seed of every random number")->capture_default_str();
}

void add_set(CLI::App& app, std::vector<std::string>& settings) {
  app.add_option("--set", settings,
                 "change a setting of the configuration, as a.b[0].c=VALUE; may be repeated")
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
}

void apply_settings(Table& table, const std::vector<std::string>& settings) {
  for (const auto& setting : settings) config::apply_override(table, setting);
}

void check_input_file(const std::string& option, const std::string& path) {
  std::error_code problem;
  const auto status = std::filesystem::status(path, problem);
  if (std::filesystem::is_regular_file(status)) return;
  const char* found = std::filesystem::is_directory(status) ? "a folder"
                      : std::filesystem::exists(status)     ? "a device or pipe"
                                                            : "nothing that this user can read";
  fail<ConfigError>(option, "expected a file at '", path, "', found ", found,
                    ". Correct the path.");
}

void add_json(CLI::App& app, bool& json) {
  app.add_flag("--json", json, "print one JSON document");
}

void print_json(const Json& document) {
  std::cout << document.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
}

}  // namespace moe::tools
