// T tokens, V vocabulary, E experts, K choices per token.
#include <algorithm>
#include <numeric>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <moe/formats/safetensors.h>
#include <moe/routing/hash_table.h>

namespace moe::routing {

namespace {

/// Writes the K experts of `id`. `taken` is scratch.
void draw_experts(int64_t id, const std::vector<RandomStream>& streams, int64_t num_experts,
                  std::vector<int64_t>& taken, int64_t* experts) {
  taken.clear();
  for (const RandomStream& stream : streams) {
    const auto left = static_cast<uint64_t>(num_experts) - taken.size();
    auto expert = static_cast<int64_t>(stream.below(static_cast<uint64_t>(id), left));
    auto place = taken.begin();  // in rising order: passing one moves on to the next free expert
    for (; place != taken.end() && expert >= *place; ++place) ++expert;
    taken.insert(place, expert);
    *experts++ = expert;
  }
}

}  // namespace

Tensor random_experts(const Tensor& ids_T, const RandomKey& key, int64_t num_experts,
                      int64_t choices) {
  std::vector<RandomStream> streams;
  for (int64_t j = 0; j < choices; ++j)
    streams.emplace_back(key, Purpose::kRouting, static_cast<uint32_t>(j));
  const Tensor here_T = ids_T.to(at::kCPU).contiguous();
  Tensor experts_TK = at::empty({here_T.size(0), choices}, here_T.options());
  const int64_t* ids = here_T.const_data_ptr<int64_t>();
  int64_t* experts = experts_TK.mutable_data_ptr<int64_t>();
  at::parallel_for(0, here_T.size(0), 1024, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> taken;
    for (int64_t t = begin; t < end; ++t)
      draw_experts(ids[t], streams, num_experts, taken, experts + t * choices);
  });
  return experts_TK.to(ids_T.device());
}

Tensor balanced_table(const std::vector<int64_t>& counts, int64_t num_experts, int64_t choices) {
  const auto negative =
      std::find_if(counts.begin(), counts.end(), [](int64_t count) { return count < 0; });
  if (negative != counts.end())
    fail<ConfigError>("routing/hash", "expected counts >= 0, got ", *negative, " for token id ",
                      negative - counts.begin(), ". Count how often each id occurs.");
  std::vector<size_t> ids(counts.size());
  std::iota(ids.begin(), ids.end(), size_t{0});
  std::stable_sort(ids.begin(), ids.end(),
                   [&](size_t a, size_t b) { return counts[a] > counts[b]; });
  std::vector<double> load(static_cast<size_t>(num_experts));
  std::vector<int64_t> order(load.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto less_busy = [&](int64_t a, int64_t b) {
    const double load_a = load[static_cast<size_t>(a)], load_b = load[static_cast<size_t>(b)];
    return load_a < load_b || (load_a == load_b && a < b);
  };
  Tensor table_VK = at::empty({static_cast<int64_t>(counts.size()), choices}, at::kLong);
  int64_t* table = table_VK.mutable_data_ptr<int64_t>();
  for (const size_t id : ids) {
    std::partial_sort(order.begin(), order.begin() + choices, order.end(), less_busy);
    std::copy_n(order.begin(), choices, table + static_cast<int64_t>(id) * choices);
    for (int64_t j = 0; j < choices; ++j)
      load[static_cast<size_t>(order[static_cast<size_t>(j)])] +=
          static_cast<double>(counts[id]) + 1;
  }
  return table_VK;
}

std::vector<int64_t> read_counts(const std::string& path) {
  const Tensor counts_V = formats::SafetensorsFile::open(path).tensor("counts");
  check(counts_V.dim() == 1 && counts_V.scalar_type() == at::kLong, "routing/hash",
        "expected an int64 tensor 'counts' of shape (V) in ", path, ", got ",
        counts_V.scalar_type(), ' ', counts_V.sizes(), ". Write one count for each token id.");
  const int64_t* counts = counts_V.const_data_ptr<int64_t>();
  return {counts, counts + counts_V.size(0)};
}

}  // namespace moe::routing
