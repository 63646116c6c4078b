#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include <ATen/Parallel.h>

#include <moe/ops/cpu/instruction_set.h>
#include <moe/ops/cpu/peak.h>
#include <moe/ops/cpu/workspace.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace moe::ops::cpu {

namespace {

constexpr int64_t kRounds = 100000;
constexpr int kMostLanes = 16;

/// Multiply-adds of so many rounds; `values` are kMostLanes floats, in and out, so that no compiler
/// drops the work.
using MultiplyAdds = std::function<int64_t(int64_t rounds, float* values)>;

/// The best seconds, but for two, of `passes` calls of work(thread) on all threads at once: clocks
/// of virtual machines jump now and then.
template <class Work>
double best_seconds(int passes, const Work& work) {
  constexpr size_t kNotCounted = 2;
  std::vector<double> all;
  for (int pass = 0; pass < passes; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t thread = begin; thread < end; ++thread) work(thread);
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    all.push_back(seconds.count());
  }
  std::sort(all.begin(), all.end());
  return all[std::min(kNotCounted, all.size() - 1)];
}

/// 10^9 operations a second, a multiply-add being two.
double best_rate(const MultiplyAdds& multiply_adds) {
  std::atomic<int64_t> count = 0;
  // A quarter of a second: long enough for the scheduler to spread the threads over cores.
  constexpr int kPasses = 300;
  const double seconds = best_seconds(kPasses, [&](int64_t) {
    const Workspace memory(sizeof(float) * kMostLanes);
    std::fill_n(memory.as<float>(), kMostLanes, 0.0f);
    count += multiply_adds(kRounds, memory.as<float>());
  });
  return 2e-9 * static_cast<double>(count) / kPasses / seconds;
}

#if defined(__x86_64__)
/// As simd/panels.h's multiply_adds, of four int8 a lane.
__attribute__((target("avx512f,avx512vnni"))) int64_t int8_multiply_adds(int64_t rounds,
                                                                         float* values) {
  // Enough for two instructions a cycle of five cycles each, and few enough that GCC 12 keeps them
  // in registers.
  constexpr int kSums = 12, kLanes = 16, kProducts = 4;
  __m512i sums[kSums];
  const __m512i x = _mm512_loadu_si512(values);
#pragma GCC unroll 32
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_add_epi32(x, _mm512_set1_epi32(i));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], x, x);
  }
  // Unrolled too: a sum that is found by its number stands in memory.
#pragma GCC unroll 32
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
  _mm512_storeu_si512(values, sums[0]);
  return rounds * kSums * kLanes * kProducts;
}
#endif

double int8_rate() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni"))
    return best_rate(int8_multiply_adds);
#endif
  return 0;
}

/// Memory of its own, straight from the system, on large pages where it gives them.
class Mapping {
 public:
  explicit Mapping(size_t bytes) : bytes_(bytes) {
    data_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ != MAP_FAILED) ::madvise(data_, bytes, MADV_HUGEPAGE);
  }
  ~Mapping() {
    if (data_ != MAP_FAILED) ::munmap(data_, bytes_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  /// Null where the system has no more.
  uint64_t* words() const { return data_ == MAP_FAILED ? nullptr : static_cast<uint64_t*>(data_); }

 private:
  void* data_;
  size_t bytes_;
};

/// More than the caches hold, but at most a quarter of the memory that is left.
size_t bytes_to_read() {
  constexpr int64_t kLeast = int64_t{256} << 20, kMost = int64_t{1} << 30;
  const int64_t cache = std::max<int64_t>(0, ::sysconf(_SC_LEVEL3_CACHE_SIZE));
  const int64_t size = std::clamp(2 * cache, kLeast, kMost), left = available_memory();
  return static_cast<size_t>(left < 0 ? kLeast : std::min(size, left / 4));
}

/// Eight sums at a time, or each load would wait for the addition before it.
uint64_t sum_of(const uint64_t* words, int64_t count) {
  std::array<uint64_t, 8> sums{};
  for (int64_t i = 0; i + 8 <= count; i += 8)
    for (size_t j = 0; j < 8; ++j) sums[j] += words[i + static_cast<int64_t>(j)];
  uint64_t sum = 0;
  for (const uint64_t part : sums) sum += part;
  return sum;
}

double read_rate() {
  const int64_t threads = at::get_num_threads();
  const int64_t words_each =
      static_cast<int64_t>(bytes_to_read() / sizeof(uint64_t)) / threads / 8 * 8;
  const int64_t words = words_each * threads;
  const Mapping memory(static_cast<size_t>(words) * sizeof(uint64_t));
  if (words == 0 || !memory.words()) return 0;
  best_seconds(1, [&](int64_t t) { std::fill_n(memory.words() + t * words_each, words_each, t); });
  std::atomic<uint64_t> sum = 0;
  constexpr int kPasses = 15;
  const double seconds = best_seconds(
      kPasses, [&](int64_t t) { sum += sum_of(memory.words() + t * words_each, words_each); });
  // Checks the sum, so that the compiler cannot drop the reads.
  const auto expected = static_cast<uint64_t>(kPasses * words_each * (threads * (threads - 1) / 2));
  return sum == expected ? 1e-9 * static_cast<double>(words) * sizeof(uint64_t) / seconds : 0;
}

}  // namespace

double measured_peak(at::ScalarType type) {
  if (type != at::kFloat && type != at::kBFloat16) return 0;
  const auto products = type == at::kFloat ? ProductType::kFloat32 : ProductType::kBFloat16;
  const auto format = type == at::kFloat ? NumberFormat::kFloat32 : NumberFormat::kBFloat16;
  const InstructionSet set = instruction_set(products);
  if (set == InstructionSet::kLibtorch) return 0;
  constexpr int64_t kDeep = 1024;
  return best_rate(kernels_of(set).product(format, format, kDeep).multiply_adds);
}

double MachineLimits::peak(at::ScalarType type) const {
  if (type == at::kFloat) return float32;
  if (type == at::kBFloat16) return std::max(float32, bfloat16);
  return 0;
}

int64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  int64_t kib = 0;
  for (std::string name, line; file >> name; std::getline(file, line))
    if (name == "MemAvailable:" && file >> kib) return kib * 1024;
  return -1;
}

MachineLimits measured_limits() {
  const Kernels& widest = kernels_of(available_instruction_sets().back());
  MachineLimits out;
  out.float32 = best_rate(widest.floats.multiply_adds);
  for (const ProductKernels* products : {&widest.pairs, &widest.tiles})
    if (products->multiply_adds)
      out.bfloat16 = std::max(out.bfloat16, best_rate(products->multiply_adds));
  out.int8 = int8_rate();
  out.read = read_rate();
  // The first of all may have been taken while the threads still shared a core.
  out.float32 = std::max(out.float32, best_rate(widest.floats.multiply_adds));
  return out;
}

}  // namespace moe::ops::cpu
