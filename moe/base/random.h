#pragma once
// Counter-based randomness (Philox 4x32-10, Salmon et al. 2011). A number depends only on its key
// (seed, step, layer, purpose) and its index, e.g. the global token number: the same on any number
// of ranks and threads, under recomputation and after resume.

#include <array>
#include <cstdint>
#include <string_view>

namespace moe {

/// What a random number is for; a new purpose goes at the end, so that old runs replay.
enum class Purpose : uint32_t {
  kInit = 1,
  kDropout,
  kAttentionDropout,
  kExpertDropout,
  kRouterNoise,
  kRouting,
  kData,
  kSampling,
  kTest,
};

/// Names a stream of random numbers. Copies are independent values; nothing is advanced.
struct RandomKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t layer = 0;

  RandomKey at_layer(uint32_t l) const { return {seed, step, l}; }
};

/// The numbers of one stream, addressed by index. Stateless and thread-safe.
class RandomStream {
 public:
  RandomStream(const RandomKey& key, Purpose purpose, uint32_t part = 0);
  /// A stream named by text, for parameters: `name` is hashed.
  RandomStream(uint64_t seed, std::string_view name);

  /// Four uniform 32-bit words for block `index`.
  std::array<uint32_t, 4> block(uint64_t index) const;
  uint32_t bits(uint64_t index) const { return block(index >> 2)[index & 3]; }
  /// Uniform in [0, 1), 24 bits.
  float uniform(uint64_t index) const { return static_cast<float>(bits(index) >> 8) * 0x1p-24f; }
  /// Uniform in [0, 1), 53 bits.
  double uniform53(uint64_t index) const;
  /// Standard normal (Box-Muller).
  float normal(uint64_t index) const;
  /// Uniform integer in [0, bound), unbiased to 2^-32 relative for bound < 2^32.
  uint64_t below(uint64_t index, uint64_t bound) const;

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 2> counter_high_;
};

/// FNV-1a, 64 bits.
uint64_t hash_name(std::string_view text);

}  // namespace moe
