// moe place: which rank should hold which expert, from what tokens chose.

#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>
#include <vector>

#include <moe/analyze/traffic.h>
#include <moe/base/files.h>
#include <moe/base/log.h>
#include <moe/cluster/placement_file.h>
#include <moe/layers/moe_layer.h>

#include "tools/moe/analyze_source.h"
#include "tools/moe/common.h"
#include "tools/moe/model_argument.h"
#include "tools/moe/planned_run.h"

namespace moe::tools {

namespace {

struct PlaceCommand {
  std::string source, cluster, out, model;
  std::string rows = "node", method = "auto", dtype = "bfloat16";
  std::vector<std::string> settings;
  analyze::RowOptions look;
  cluster::PlacementOptions options;
  cluster::SearchOptions search;
  int64_t ranks = 0, replicas = 1, seed = 1, threads = 0;
  bool no_verify = false, json = false;
};

/// Layers of so many experts are searched to the end unless --method says otherwise.
constexpr int64_t kExactExperts = 12;

void setup_place(CLI::App& app, PlaceCommand& o) {
  app.add_option("TRACE_OR_RUN", o.source,
                 "a routing trace (moe analyze --trace), a run or a checkpoint")
      ->required();
  app.add_option("--cluster", o.cluster, "machines and links (configs/clusters/)")
      ->required()
      ->type_name("CLUSTER.toml");
  app.add_option("--out", o.out, "write the placement (docs/planning.md)")
      ->required()
      ->type_name("FILE.json");
  app.add_option("--ranks", o.ranks, "use so many ranks of the cluster; 0: all")
      ->type_name("W")
      ->capture_default_str();
  app.add_option("--capacity", o.options.capacity,
                 "experts of a layer that a rank holds at most; 0: as few as hold all")
      ->capture_default_str();
  app.add_option("--rows", o.rows,
                 "what of a token travels: a row to each expert (pair), to each rank that has some "
                 "of them (rank), or to each node, which hands it on (node)")
      ->capture_default_str();
  app.add_option("--method", o.method,
                 "exact (branch and bound), local (search), or auto: exact up to 12 experts")
      ->capture_default_str();
  app.add_option("--busiest", o.options.busiest,
                 "weight of the busiest rank beside the mean of all, in [0, 1]")
      ->capture_default_str();
  app.add_option("--replicas", o.replicas,
                 "copies of hot experts of a layer that a rank takes at most")
      ->capture_default_str();
  app.add_option("--model", o.model,
                 "whose widths rows and experts have: a run, its CONFIG.toml or a published model; "
                 "default: the run, or what the trace was made from")
      ->type_name("MODEL");
  app.add_option("--batches", o.look.max_batches,
                 "batches of each domain's validation data; -1: all of it")
      ->capture_default_str();
  app.add_option("--batch", o.look.batch, "rows of a batch")->capture_default_str();
  add_dtype(app, o.dtype);
  add_seed(app, o.seed);
  add_set(app, o.settings);
  add_no_verify(app, o.no_verify);
  add_threads(app, o.threads);
  add_json(app, o.json);
}

cluster::Rows rows_of(const std::string& name) {
  check_one_of("place", "--rows", name, {"pair", "rank", "node"});
  return name == "pair"   ? cluster::Rows::kPair
         : name == "rank" ? cluster::Rows::kRank
                          : cluster::Rows::kNode;
}

/// Fills in widths and FLOPs of each layer's experts.
void add_widths(std::vector<cluster::Traffic>& traffic, const std::string& subject) {
  const auto model = models::make_model(spec_of_subject(subject));
  const auto blocks = model->blocks();
  for (auto& layer : traffic) {
    const auto* moe = layer.layer < static_cast<int64_t>(blocks.size())
                          ? blocks[static_cast<size_t>(layer.layer)]->feed_forward().mixture()
                          : nullptr;
    check<ConfigError>(moe && moe->options().num_experts == layer.experts, "--model",
                       "expected a model with ", layer.experts, " experts in layer ", layer.layer,
                       ", got ", moe ? moe->options().num_experts : 0, " in '", subject,
                       "'. Name the model that was traced.");
    layer.width = moe->options().d_model;
    layer.flops_per_pair = moe->experts().flops_per_row();
  }
}

/// What one layer got.
struct Placed {
  cluster::PlacementCost before;
  cluster::FoundPlacement found;
  cluster::Replication replication;
  cluster::PredictedRows predicted;
};

Placed place_layer(const cluster::Traffic& layer, const cluster::Cluster& cluster,
                   const PlaceCommand& o) {
  auto options = o.options;
  options.rows = rows_of(o.rows);
  options.dtype = o.dtype;
  options.row_bytes = static_cast<double>(layer.width) *
                      static_cast<double>(c10::elementSize(parse_dtype(o.dtype)));
  auto search = o.search;
  search.seed = static_cast<uint64_t>(o.seed);
  const auto start = cluster::in_order(layer.experts, cluster.ranks());
  Placed out;
  out.before = cluster::cost_of(layer, start, cluster, options);
  out.found = cluster::improve(layer, start, cluster, options, search);
  if (o.method == "exact" || (o.method == "auto" && layer.experts <= kExactExperts))
    out.found = cluster::search_exact(layer, out.found.rank_E, cluster, options);
  out.replication = cluster::replicate(layer, out.found.rank_E, cluster.ranks(), o.replicas);
  out.predicted = cluster::predict_rows(layer, out.found.rank_E, out.replication.replicas,
                                        cluster.ranks(), cluster.ranks_per_node);
  return out;
}

Json cost_json(const cluster::PlacementCost& cost) {
  return {{"seconds", cost.seconds},
          {"between_nodes_bytes", cost.between_bytes},
          {"inside_nodes_bytes", cost.inside_bytes},
          {"busiest_load", cost.busiest_load}};
}

Json layer_json(const cluster::Traffic& layer, const Placed& placed) {
  Json replicas = Json::array();
  for (const auto& replica : placed.replication.replicas)
    replicas.push_back(
        {{"expert", replica.expert}, {"load", replica.load}, {"ranks", replica.ranks}});
  return {{"layer", layer.layer},
          {"experts", layer.experts},
          {"tokens", layer.tokens()},
          {"pairs", layer.pairs()},
          {"before", cost_json(placed.before)},
          {"after", cost_json(placed.found.cost)},
          {"proven", placed.found.proven},
          {"rank_of_expert", placed.found.rank_E},
          {"replicas", replicas},
          {"busiest_load_with_replicas", placed.replication.busiest_after},
          {"predicted",
           {{"between_ranks", placed.predicted.between_ranks},
            {"between_nodes", placed.predicted.between_nodes},
            {"busiest_rank", placed.predicted.busiest_rank}}}};
}

void print_copies(const cluster::Replication& copies) {
  if (copies.replicas.empty()) {
    std::printf("  no expert is worth a copy\n");
    return;
  }
  std::printf("  %lld copies bring the busiest rank from %.3f to %.3f of the mean:\n",
              static_cast<long long>(copies.copies), copies.busiest_before, copies.busiest_after);
  for (const auto& replica : copies.replicas) {
    std::printf("    expert %lld, %.3f of a rank's mean load, on ranks",
                static_cast<long long>(replica.expert), replica.load);
    for (const int32_t rank : replica.ranks) std::printf(" %d", rank);
    std::printf("\n");
  }
}

void print_layer(const cluster::Traffic& layer, const Placed& placed) {
  const auto row = [](const char* name, const cluster::PlacementCost& cost) {
    std::printf("  %-9s %12.4g %18.4g %18.4g %14.3f\n", name, 1e3 * cost.seconds,
                cost.between_bytes / 1e6, cost.inside_bytes / 1e6, cost.busiest_load);
  };
  std::printf("\nlayer %lld, %lld experts, %s tokens%s\n", static_cast<long long>(layer.layer),
              static_cast<long long>(layer.experts), grouped(layer.tokens()).c_str(),
              placed.found.proven ? "; no placement costs less" : "");
  std::printf("             modelled ms   between nodes MB    inside nodes MB   busiest rank\n");
  row("in order", placed.before);
  row("placed", placed.found.cost);
  print_copies(placed.replication);
  std::printf(
      "  training with it should send %.3f rows a token between ranks, %.3f between nodes\n",
      placed.predicted.between_ranks, placed.predicted.between_nodes);
}

int run_place(const PlaceCommand& o) {
  check_one_of("place", "--method", o.method, {"auto", "exact", "local"});
  rows_of(o.rows);
  parse_dtype(o.dtype);
  check<ConfigError>(o.replicas >= 0 && o.ranks >= 0, "place",
                     "expected --replicas and --ranks of at least 0, got ",
                     std::min(o.replicas, o.ranks), ". Correct it.");
  check_input_file("--cluster", o.cluster);
  auto cluster = cluster::read_cluster(o.cluster);
  if (o.ranks > 0) cluster = cluster.with_ranks(o.ranks);
  use_threads(o.threads);
  SourceOptions how;
  how.settings = o.settings;
  how.verify = !o.no_verify;
  const AnalyzeSource source = open_source(o.source, how);
  analyze::TrafficCollector collector;
  source.rows(o.look, [&](const analyze::RoutedRows& rows) { collector.add(rows); });
  auto traffic = std::move(collector).finish();
  std::error_code ignored;
  const bool trace = std::filesystem::is_regular_file(o.source, ignored);
  add_widths(traffic, !o.model.empty() ? o.model : trace ? source.info.model : o.source);

  cluster::PlacementFile file{.ranks = cluster.ranks(), .ranks_per_node = cluster.ranks_per_node};
  Json layers = Json::array();
  std::vector<Placed> placed;
  for (const auto& layer : traffic) {
    placed.push_back(place_layer(layer, cluster, o));
    file.layers.push_back({layer.layer, placed.back().found.rank_E,
                           placed.back().replication.replicas, placed.back().predicted});
    layers.push_back(layer_json(layer, placed.back()));
  }
  const std::string text = cluster::write_placement(file);
  write_file_atomically(real_files(), o.out, [&](OutputFile& out) { out.write(bytes_of(text)); });
  log::info(concat("placement: ", o.out));
  if (!o.json) {
    std::printf("%s, step %s, on %lld ranks of %lld nodes\n", source.info.model.c_str(),
                grouped(source.info.step).c_str(), static_cast<long long>(cluster.ranks()),
                static_cast<long long>(cluster.nodes));
    for (size_t l = 0; l < traffic.size(); ++l) print_layer(traffic[l], placed[l]);
  } else {
    print_json({{"checkpoint", source.info.model},
                {"step", source.info.step},
                {"ranks", cluster.ranks()},
                {"nodes", cluster.nodes},
                {"rows", o.rows},
                {"layers", layers}});
  }
  return 0;
}

}  // namespace

void add_place(CLI::App& program, Session& session) {
  add_command<PlaceCommand>(
      program, session,
      {"place", "Which rank should hold which expert, and which experts are worth copies.",
       "moe place out/demo/moe --cluster configs/clusters/two_nodes.toml --out placement.json"
       "  # after make demo",
       setup_place, run_place});
}

}  // namespace moe::tools
