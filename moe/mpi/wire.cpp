#include <moe/mpi/wire.h>

namespace moe::parallel {

namespace {

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014).
uint64_t mixed(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

constexpr int32_t kMax = 16, kStarted = 32;

}  // namespace

int32_t code_of(const Call& call) {
  return static_cast<int32_t>(call.what) |
         (call.reduces() && call.reduce == Reduce::kMax ? kMax : 0) | (call.started ? kStarted : 0);
}

std::string name_of(int32_t code) {
  constexpr std::string_view kNames[] = {"all_reduce",   "reduce_scatter_v", "all_to_all_v",
                                         "all_gather_v", "broadcast",        "barrier",
                                         "split"};
  const auto what = static_cast<size_t>(code % kMax);
  if (what >= std::size(kNames)) return "an unknown collective";
  std::string out((code & kStarted) != 0 ? "start_" : "");
  out += kNames[what];
  if (what <= 1) out += (code & kMax) != 0 ? " (max)" : " (sum)";
  return out;
}

Header header_of(const Call& call, int64_t sequence) {
  Header out;
  out.sequence = sequence;
  out.what = code_of(call);
  out.root = call.root;
  out.color = call.color;
  out.key = call.key;
  if (!call.has_tensor()) return out;
  out.dtype = static_cast<int32_t>(call.tensor.scalar_type());
  out.dimensions = static_cast<int32_t>(call.tensor.dim());
  for (int64_t d = 0; d < call.tensor.dim(); ++d) out.sizes[d] = call.tensor.size(d);
  return out;
}

TensorKind kind_of(const Header& header) {
  return {static_cast<at::ScalarType>(header.dtype),
          {header.sizes, header.sizes + header.dimensions}};
}

uint64_t hash_of(int64_t from, int64_t to, int64_t rows) {
  return mixed(mixed(mixed(static_cast<uint64_t>(from)) + static_cast<uint64_t>(to)) +
               static_cast<uint64_t>(rows));
}

uint64_t hash_of(const std::vector<int64_t>& counts) {
  uint64_t out = 0;
  for (const int64_t count : counts) out = mixed(out + static_cast<uint64_t>(count));
  return out;
}

}  // namespace moe::parallel
