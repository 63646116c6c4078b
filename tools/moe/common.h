#pragma once
// Options that several subcommands share, and how results are printed.

#include <cstdint>
#include <string>
#include <vector>

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <nlohmann/json.hpp>

#include <moe/base/text.h>
#include <moe/base/value.h>

#include "tools/moe/command.h"

namespace moe::tools {

using Json = nlohmann::ordered_json;

/// Cores this process may use: its affinity mask, and the CPU quota of its control group.
int64_t usable_cores();

/// Fills `threads` when the option is given; throws ConfigError for a number below 1.
void add_threads(CLI::App& app, int64_t& threads);
/// Sets the process's number of threads; 0: the usable cores.
void use_threads(int64_t threads);

void add_dtype(CLI::App& app, std::string& dtype);
/// float32, bfloat16 or float64; throws ConfigError for another.
at::ScalarType parse_dtype(const std::string& dtype);

void add_device(CLI::App& app, std::string& device);
/// cpu, cuda or cuda:i; throws ConfigError for another, and for a device that is not there.
at::Device parse_device(const std::string& device);

void add_seed(CLI::App& app, int64_t& seed);
void add_set(CLI::App& app, std::vector<std::string>& settings);
/// Every `--set` in order.
void apply_settings(Table& table, const std::vector<std::string>& settings);

/// Throws ConfigError unless `path`, the value of `option`, is a file: naming another is wrong
/// usage.
void check_input_file(const std::string& option, const std::string& path);

void add_json(CLI::App& app, bool& json);
/// The one JSON document of a run with --json. Bytes that are no UTF-8 become U+FFFD.
void print_json(const Json& document);

}  // namespace moe::tools
