#include <cmath>
#include <numbers>

#include <moe/base/random.h>

namespace moe {

namespace {

/// SplitMix64's finaliser: spreads structured inputs over all bits.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

std::array<uint32_t, 2> halves(uint64_t x) {
  return {static_cast<uint32_t>(x), static_cast<uint32_t>(x >> 32)};
}

}  // namespace

uint64_t hash_name(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

RandomStream::RandomStream(const RandomKey& key, Purpose purpose, uint32_t part)
    : key_(halves(mix(key.seed + 0x9e3779b97f4a7c15ull * (static_cast<uint64_t>(purpose) + 1)))),
      counter_high_(
          halves(mix(key.step * 0x9e3779b97f4a7c15ull + (uint64_t{key.layer} << 32 | part)))) {}

RandomStream::RandomStream(uint64_t seed, std::string_view name)
    : key_(halves(mix(seed + 0x9e3779b97f4a7c15ull))), counter_high_(halves(hash_name(name))) {}

std::array<uint32_t, 4> RandomStream::block(uint64_t index) const {
  constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  const auto low = halves(index);
  std::array<uint32_t, 4> c = {low[0], low[1], counter_high_[0], counter_high_[1]};
  std::array<uint32_t, 2> k = key_;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * c[0];
    const uint64_t product1 = uint64_t{kMultiplier1} * c[2];
    c = {static_cast<uint32_t>(product1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(product1),
         static_cast<uint32_t>(product0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(product0)};
    k = {k[0] + kWeyl0, k[1] + kWeyl1};
  }
  return c;
}

double RandomStream::uniform53(uint64_t index) const {
  const auto words = block(index);
  return static_cast<double>((uint64_t{words[0]} << 32 | words[1]) >> 11) * 0x1p-53;
}

float RandomStream::normal(uint64_t index) const {
  const auto words = block(index >> 1);
  const double u = (static_cast<double>(words[0]) + 1.0) * 0x1p-32;
  const double angle = 2 * std::numbers::pi * static_cast<double>(words[1]) * 0x1p-32;
  const double radius = std::sqrt(-2 * std::log(u));
  return static_cast<float>(radius * (index & 1 ? std::sin(angle) : std::cos(angle)));
}

uint64_t RandomStream::below(uint64_t index, uint64_t bound) const {
  const auto words = block(index);
  const uint64_t wide = uint64_t{words[0]} << 32 | words[1];
  return static_cast<uint64_t>((static_cast<unsigned __int128>(wide) * bound) >> 64);
}

}  // namespace moe
