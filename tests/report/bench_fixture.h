#pragma once
// Results of a made-up machine, as the suite and the peers write them.

#include <fstream>
#include <string>
#include <vector>

#include <moe/base/error.h>
#include <report/bench/results.h>

namespace moe::test {

/// 100 GFLOP/s float32, 200 bfloat16, 400 int8, 10 GB/s.
inline std::string bench_head() {
  return R"({"suite":{"date":"2026-01-01 00:00 UTC","version":"1.2.3","cpu":"A CPU","threads":2,)"
         R"("instruction_set":"avx2","limits":{"float32_gflops":100,"bfloat16_gflops":200,)"
         R"("int8_gops":400,"read_gb_s":10}}})"
         "\n";
}

/// 2·10^9 FLOP and 4·10^7 bytes: 50 FLOP a byte, 40 GFLOP/s.
inline std::string bench_line(const std::string& group, int64_t experts,
                              const std::string& dtype = "float32",
                              const std::string& mode = "train",
                              const std::string& routing = "learned", double ms = 50,
                              const std::string& set = "avx2") {
  return concat(R"({"group":")", group, R"(","tokens":64,"d_model":16,"d_ff":32,"experts":)",
                experts, R"(,"top_k":1,"mode":")", mode, R"(","dtype":")", dtype,
                R"(","routing":")", routing, R"(","busiest_share":0.25,"layer":{"median_ms":)", ms,
                R"(,"gflops":40,"bound_ms":20,"bound":{"moved_bytes":40000000},"cpu_wait":0.01,)",
                R"("instruction_set":")", set,
                R"(","work":{"flops":2000000000}},"dense":{"median_ms":25}})", "\n");
}

inline std::string peer_line(const std::string& peer, const std::string& block, double ms) {
  return concat(R"({"peer":")", peer, R"(","block":")", block,
                R"(","tokens":64,"d_model":16,"d_ff":32,"experts":8,"top_k":1,"mode":"train",)",
                R"("dtype":"float32","routing":"learned","median_ms":)", ms, R"(,"ours_ms":40})",
                "\n");
}

inline std::string whole_bench() {
  std::string out = bench_head();
  for (const char* dtype : {"float32", "bfloat16"}) {
    for (const char* mode : {"train", "forward"}) out += bench_line("table", 8, dtype, mode);
    for (int64_t experts = 1; experts <= 4096; experts *= 8)
      out += bench_line("scaling", experts, dtype, "train", "learned",
                        25 + static_cast<double>(experts) / 10);
    out += bench_line("skew", 8, dtype, "train", "zipf");
    for (const char* set : {"avx2", "avx512"})
      out += bench_line("sets", 8, dtype, "train", "learned", set[3] == '2' ? 80 : 60, set);
  }
  return out;
}

}  // namespace moe::test
