// W ranks in all, X of them share the experts of a layer.
#include <algorithm>
#include <string>
#include <vector>

#include <moe/base/error.h>
#include <moe/parallel/by_machine.h>
#include <moe/parallel/layout.h>
#include <moe/parallel/options.h>

namespace moe::parallel {

namespace {

constexpr std::string_view kPlaceOfLayout = "parallel/layout";

std::string divisors_of(int64_t number) {
  std::vector<std::string> out;
  for (int64_t d = 1; d <= number; ++d)
    if (number % d == 0) out.push_back(std::to_string(d));
  return join(out);
}

}  // namespace

Range share_of(int64_t items, int64_t parts, int64_t part) {
  check(items >= 0 && part >= 0 && part < parts, kPlaceOfLayout,
        "expected items >= 0 and a part in [0, ", parts, "), got ", items, " items and part ", part,
        ". Correct them.");
  const int64_t each = items / parts, more = items % parts;
  return {part * each + std::min(part, more), each + (part < more ? 1 : 0)};
}

int64_t owner_of(int64_t item, int64_t items, int64_t parts) {
  check(item >= 0 && item < items && parts >= 1, kPlaceOfLayout, "expected an item in [0, ", items,
        ") and parts >= 1, got item ", item, " and ", parts, " parts. Correct them.");
  const int64_t each = items / parts, more = items % parts, longer = more * (each + 1);
  return item < longer ? item / (each + 1) : more + (item - longer) / each;
}

Layout::Layout(std::shared_ptr<Communicator> all) : world(all), experts(std::move(all)) {
  check<ConfigError>(world != nullptr, kPlaceOfLayout,
                     "expected a group, got none. Pass parallel::local() for one rank.");
}

Layout Layout::of(std::shared_ptr<Communicator> world, int64_t experts, int64_t data) {
  Layout out(std::move(world));
  const int64_t W = out.world->size();
  const auto check_divides = [&](const char* key, const char* what, int64_t ranks) {
    check<ConfigError>(ranks >= 0 && ranks <= W && (ranks == 0 || W % ranks == 0), kPlaceOfLayout,
                       "expected parallel.", key, ", ", what, ", to divide the ", W,
                       W == 1 ? " rank" : " ranks", " of the run, got ", ranks, ". Use one of ",
                       divisors_of(W), ", leave it out, or start another number of ranks.");
  };
  check_divides("experts", "the ranks that share the experts of a layer", experts);
  check_divides("data", "the copies of all experts", data);
  check<ConfigError>(experts == 0 || data == 0 || experts * data == W, kPlaceOfLayout,
                     "expected parallel.experts times parallel.data to be the ", W,
                     " ranks of the run, got ", experts, " times ", data,
                     ". Set one of them, or start ", experts * data, " ranks.");
  const int64_t X = experts > 0 ? experts : data > 0 ? W / data : W;
  if (X == W) return out;
  const int64_t rank = out.world->rank();
  out.experts = out.world->split(rank / X, rank % X);
  out.data = out.world->split(rank % X, rank / X);
  return out;
}

Layout Layout::for_block(int64_t block) const {
  Layout out = *this;
  const auto found = placements ? placements->find(block) : Placements::const_iterator();
  out.placement = placements && found != placements->end() ? found->second : nullptr;
  return out;
}

Layout Layout::of(std::shared_ptr<Communicator> world, const ParallelOptions& options) {
  Layout out = of(std::move(world), options.experts, options.copies());
  out.exchange = {.format = parse_row_format(options.exchange, "parallel.exchange"),
                  .chunks = std::make_shared<Chunks>(options.chunks)};
  if (options.route == "machines") out.experts = by_machine(out.experts);
  return out;
}

}  // namespace moe::parallel
