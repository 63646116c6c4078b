// moe analyze RUN_OR_CHECKPOINT: load per expert, and how far experts divide the domains.

#include <algorithm>
#include <cstdio>

#include <moe/analyze/specialisation.h>
#include <moe/models/load.h>

#include "tools/moe/common.h"

namespace moe::tools {

namespace {

struct AnalyzeCommand {
  std::string model;
  std::vector<std::string> domains, settings;
  std::string choices = "all";
  analyze::CountOptions count;
  analyze::PermutationOptions test;
  int64_t seed = 1, threads = 0;
  bool json = false;
};

void setup_analyze(CLI::App& app, AnalyzeCommand& o) {
  app.add_option("RUN", o.model, "a run (its newest checkpoint) or one checkpoint")->required();
  app.add_option("--domains", o.domains, "also compare these domains alone, e.g. english,turkish")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("A,B");
  app.add_option("--batches", o.count.max_batches,
                 "batches of each domain's validation data; -1: all of it")
      ->capture_default_str();
  app.add_option("--batch", o.count.batch, "rows of a batch")->capture_default_str();
  app.add_option("--choices", o.choices, "what counts: all choices of a token, or the first")
      ->capture_default_str();
  app.add_option("--permutations", o.test.permutations, "permutations of the rows' domains")
      ->capture_default_str();
  add_seed(app, o.seed);
  add_set(app, o.settings);
  add_threads(app, o.threads);
  add_json(app, o.json);
}

/// The data that the run was trained on.
data::DataOptions data_of(Table config, const std::vector<std::string>& settings) {
  apply_settings(config, settings);
  const Value* section = config.find("data");
  check(section && section->as<Table>(), "analyze",
        "expected a [data] section in the run's config.toml, found none. The run is damaged.");
  data::DataOptions options;
  read_fields(options, *section->as<Table>(), "data");
  return options;
}

Json layer_json(const analyze::LayerSpecialisation& layer, bool tested) {
  Json out;
  out["layer"] = layer.layer;
  out["load"] = layer.load_E;
  out["entropy"] = layer.load_entropy;
  out["counts"] = layer.counts_DE;
  if (!tested) return out;
  out["mutual_information"] = layer.mutual_information;
  out["specialisation"] = layer.normalised;
  out["percentile_99"] = layer.percentile_99;
  out["p_value"] = layer.p_value;
  out["above"] = layer.above;
  return out;
}

Json comparison_json(const analyze::Specialisation& found) {
  Json layers = Json::array();
  for (const auto& layer : found.layers)
    layers.push_back(layer_json(layer, found.domains.size() > 1));
  return {{"domains", found.domains}, {"rows", found.rows}, {"layers", std::move(layers)}};
}

/// Experts down, domains across: the share of a domain's choices that each expert takes.
void print_shares(const analyze::Specialisation& found, const analyze::LayerSpecialisation& layer) {
  const auto width = [](const std::string& name) {
    return static_cast<int>(std::max<size_t>(8, name.size()));
  };
  std::printf("  expert      load");
  for (const auto& name : found.domains) std::printf("  %*s", width(name), name.c_str());
  std::printf("\n");
  for (size_t e = 0; e < layer.load_E.size(); ++e) {
    std::printf("  %6zu  %7.1f%%", e, 100 * layer.load_E[e]);
    for (size_t d = 0; d < found.domains.size(); ++d) {
      double all = 0;
      for (const int64_t n : layer.counts_DE[d]) all += static_cast<double>(n);
      const double share = all > 0 ? static_cast<double>(layer.counts_DE[d][e]) / all : 0;
      std::printf("  %*.1f%%", width(found.domains[d]) - 1, 100 * share);
    }
    std::printf("\n");
  }
}

void print_comparison(const analyze::Specialisation& found) {
  const bool tested = found.domains.size() > 1;
  std::printf("\n%s: %s rows\n", join(found.domains).c_str(), grouped(found.rows).c_str());
  for (const auto& layer : found.layers) {
    std::printf("\nlayer %lld, entropy of the load %.3f of 1\n",
                static_cast<long long>(layer.layer), layer.load_entropy);
    print_shares(found, layer);
    if (!tested) continue;
    std::printf(
        "  specialisation %.4f of 1 (%.4f nats); 99 %% of %s permutations stay within %.4f: "
        "%s, p = %.3g\n",
        layer.normalised, layer.mutual_information, grouped(found.permutations).c_str(),
        layer.percentile_99, layer.above ? "more than chance" : "no more than chance",
        layer.p_value);
  }
  std::fflush(stdout);
}

int run_analyze(const AnalyzeCommand& o) {
  check_one_of("analyze", "--choices", o.choices, {"all", "first"});
  use_threads(o.threads != 0 ? o.threads : usable_cores());
  const auto loaded = models::load(o.model);
  const data::Corpus corpus(data_of(loaded.config, o.settings));
  auto count = o.count;
  count.choices = o.choices == "first" ? analyze::Choices::kFirst : analyze::Choices::kAll;
  auto test = o.test;
  test.seed = static_cast<uint64_t>(o.seed);

  const auto counts = analyze::count_routing(*loaded.model, corpus, count);
  const auto all = analyze::specialisation(counts, {}, test);
  std::vector<analyze::Specialisation> found = {all};
  if (!o.domains.empty()) found.push_back(analyze::specialisation(counts, o.domains, test));

  if (o.json) {
    Json document = {{"checkpoint", loaded.folder.string()},
                     {"step", loaded.step},
                     {"tokens", counts.tokens},
                     {"choices", o.choices},
                     {"permutations", test.permutations},
                     {"seed", o.seed}};
    document.update(comparison_json(all));
    if (found.size() > 1) document["chosen"] = comparison_json(found[1]);
    print_json(document);
    return 0;
  }
  std::printf("%s, step %s: %s tokens of validation data\n", loaded.folder.string().c_str(),
              grouped(loaded.step).c_str(), grouped(counts.tokens).c_str());
  std::printf("Columns of domains: the share of the domain's %s that each expert takes.\n",
              o.choices == "all" ? "choices" : "first choices");
  for (const auto& comparison : found) print_comparison(comparison);
  return 0;
}

}  // namespace

void add_analyze(CLI::App& program, Session& session) {
  add_command<AnalyzeCommand>(
      program, session,
      {"analyze", "Which experts serve which domains, and whether that is more than chance.",
       "moe analyze out/demo/moe --domains english,turkish", setup_analyze, run_analyze});
}

}  // namespace moe::tools
