#include <algorithm>
#include <fstream>
#include <string>
#include <tuple>
#include <unistd.h>

#include <moe/mpi/processors.h>

namespace moe::parallel {

ProcessorShare share_of_processors(const std::vector<cpu_set_t>& masks, size_t mine,
                                   const std::vector<int>& order) {
  ProcessorShare out;
  const cpu_set_t& mask = masks[mine];
  std::vector<int> usable;
  for (const int cpu : order)
    if (CPU_ISSET(cpu, &mask)) usable.push_back(cpu);
  int64_t alike = 0, place = 0;
  for (size_t r = 0; r < masks.size(); ++r) {
    if (!CPU_EQUAL(&masks[r], &mask)) continue;
    ++alike;
    if (r < mine) ++place;
  }
  const auto cpus = static_cast<int64_t>(usable.size());
  if (alike > 1 && cpus >= alike)
    out.bind.assign(usable.begin() + cpus * place / alike,
                    usable.begin() + cpus * (place + 1) / alike);
  // Of a processor that several ranks may use each has a part.
  double threads = 0;
  for (const int cpu : out.bind.empty() ? usable : out.bind) {
    int64_t users = 0;
    for (const cpu_set_t& other : masks)
      if (CPU_ISSET(cpu, &other) && (out.bind.empty() || !CPU_EQUAL(&other, &mask))) ++users;
    threads +=
        1.0 / static_cast<double>(out.bind.empty() ? std::max<int64_t>(users, 1) : users + 1);
  }
  out.threads = std::max<int64_t>(1, static_cast<int64_t>(threads + 1e-9));
  return out;
}

std::vector<int> processors_by_core() {
  std::vector<std::tuple<int, int, int>> found;
  for (int cpu = 0; cpu < static_cast<int>(::sysconf(_SC_NPROCESSORS_CONF)); ++cpu) {
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    int package = 0, core = cpu;
    std::ifstream(folder + "physical_package_id") >> package;
    std::ifstream(folder + "core_id") >> core;
    found.emplace_back(package, core, cpu);
  }
  std::ranges::sort(found);
  std::vector<int> out;
  for (const auto& [package, core, cpu] : found) out.push_back(cpu);
  return out;
}

}  // namespace moe::parallel
