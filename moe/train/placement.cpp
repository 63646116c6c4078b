// E experts, X ranks that share the experts of a layer.
#include <cstring>
#include <set>

#include <ATen/ops/empty.h>

#include <moe/base/error.h>
#include <moe/layers/moe_layer.h>
#include <moe/parallel/gather_named.h>
#include <moe/train/placement.h>

namespace moe::train {

namespace {

constexpr std::string_view kPlaceOfRunPlacement = "parallel.placement";

/// The file of rank 0, on all ranks: they must not differ in it.
std::string text_for_all(const std::string& file, parallel::Communicator& world) {
  std::vector<std::pair<std::string, Tensor>> mine;
  if (world.rank() == 0) {
    const std::string text = cluster::placement_text(file);
    mine.emplace_back(file, at::empty({static_cast<int64_t>(text.size())}, at::kByte));
    std::memcpy(mine.back().second.mutable_data_ptr(), text.data(), text.size());
  }
  const Tensor bytes = parallel::gather_named(mine, world).at(0).second;
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())};
}

/// By number of the block, the experts of each layer that has some.
std::map<int64_t, int64_t> experts_of_layers(const models::ModelSpec& spec) {
  const auto model = models::make_model(spec);
  const auto blocks = model->blocks();
  std::map<int64_t, int64_t> out;
  for (size_t i = 0; i < blocks.size(); ++i)
    if (const auto* mixture = blocks[i]->feed_forward().mixture())
      out[static_cast<int64_t>(i)] = mixture->options().num_experts;
  return out;
}

std::string numbers_of(const std::map<int64_t, int64_t>& layers) {
  std::vector<std::string> out;
  for (const auto& [layer, experts] : layers) out.push_back(std::to_string(layer));
  return join(out);
}

void check_fits(const cluster::PlacementFile& placement, const std::string& file,
                const std::map<int64_t, int64_t>& layers, int64_t ranks) {
  const auto expect = [&](bool ok, const auto&... parts) {
    check<ConfigError>(ok, kPlaceOfRunPlacement, "expected ", parts..., " in '", file,
                       "'. Write one for this model and these ranks: moe place … --ranks ", ranks,
                       "; or leave parallel.placement out.");
  };
  expect(placement.ranks == ranks, "a placement for the ", ranks,
         " ranks that share the experts of a layer, got one for ", placement.ranks);
  std::set<int64_t> placed;
  for (const auto& layer : placement.layers) {
    placed.insert(layer.layer);
    const auto found = layers.find(layer.layer);
    expect(found != layers.end(), "layers that have experts in this model (", numbers_of(layers),
           "), got layer ", layer.layer);
    const auto experts = static_cast<int64_t>(layer.rank_E.size());
    expect(experts == found->second, "a rank for each of the ", found->second, " experts of layer ",
           layer.layer, ", got ", experts, experts == 1 ? " rank" : " ranks");
  }
  for (const auto& [layer, experts] : layers)
    expect(placed.contains(layer), "a placement of layer ", layer, ", which has ", experts,
           " experts, found none");
}

}  // namespace

RunPlacement read_run_placement(const std::string& file, const models::ModelSpec& model,
                                const parallel::Layout& layout) {
  if (file.empty()) return {};
  const auto placement = cluster::parse_placement(text_for_all(file, *layout.world), file);
  const int64_t X = layout.experts->size();
  check_fits(placement, file, experts_of_layers(model), X);
  RunPlacement out;
  auto layers = std::make_shared<parallel::Placements>();
  for (const auto& layer : placement.layers) {
    if (layer.predicted) out.predicted.emplace(layer.layer, *layer.predicted);
    std::vector<std::vector<int64_t>> ranks_E;
    for (const int32_t rank : layer.rank_E) ranks_E.push_back({rank});
    for (const auto& replica : layer.replicas)
      ranks_E[static_cast<size_t>(replica.expert)] = {replica.ranks.begin(), replica.ranks.end()};
    (*layers)[layer.layer] = std::make_shared<const ExpertPlacement>(std::move(ranks_E), X);
  }
  if (X > 1) out.layers = std::move(layers);
  return out;
}

}  // namespace moe::train
