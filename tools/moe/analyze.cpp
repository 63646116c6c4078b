// moe analyze RUN_OR_TRACE: load per expert, how far experts divide the domains, which tokens they
// take and which of them go together; as text, JSON, or the report of the run.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include <moe/analyze/specialisation.h>
#include <moe/base/log.h>
#include <moe/checkpoint/manifest.h>
#include <report/write.h>

#include "tools/moe/analyze_source.h"
#include "tools/moe/analyze_statistics.h"
#include "tools/moe/model_argument.h"

namespace moe::tools {

namespace {

struct AnalyzeCommand {
  std::string model, out;
  std::vector<std::string> domains, settings;
  std::string choices = "all";
  std::string trace;
  analyze::RowOptions rows;
  int64_t positions = 8;
  ListLengths lengths;
  analyze::PermutationOptions test;
  int64_t seed = 1, threads = 0;
  std::optional<int64_t> top_k;
  bool no_verify = false;
  bool json = false;
};

void setup_analyze(CLI::App& app, AnalyzeCommand& o) {
  app.add_option("RUN_OR_TRACE", o.model,
                 "a run (its newest checkpoint), one checkpoint, or a routing trace")
      ->required();
  app.add_option("--out", o.out,
                 "write the report of the run (or of what `moe compare` made) as one HTML file")
      ->type_name("FILE.html");
  app.add_option("--domains", o.domains, "also compare these domains alone, e.g. english,turkish")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("A,B");
  app.add_option("--batches", o.rows.max_batches,
                 "batches of each domain's validation data; -1: all of it")
      ->capture_default_str();
  app.add_option("--batch", o.rows.batch, "rows of a batch")->capture_default_str();
  app.add_option("--choices", o.choices, "what counts: all choices of a token, or the first")
      ->capture_default_str();
  app.add_option("--permutations", o.test.permutations, "permutations of the rows' domains")
      ->capture_default_str();
  app.add_option("--trace", o.trace, "also write the routing trace of these rows (docs/traces.md)")
      ->type_name("OUT.safetensors");
  app.add_flag("--trace-logits", o.rows.logits, "with --trace: the router's logits too");
  app.add_option("--positions", o.positions, "equal parts of the sequence to tell apart")
      ->capture_default_str();
  app.add_option("--tokens", o.lengths.tokens, "token ids to list of each expert")
      ->capture_default_str();
  app.add_option("--pairs", o.lengths.pairs, "pairs of experts to list of each layer")
      ->capture_default_str();
  add_seed(app, o.seed);
  add_set(app, o.settings);
  add_set_moe(app, o.top_k);
  add_no_verify(app, o.no_verify);
  add_threads(app, o.threads);
  add_json(app, o.json);
}

Json division_json(const analyze::LayerSpecialisation& layer, bool tested) {
  Json out;
  out["layer"] = layer.layer;
  out["load"] = layer.load_E;
  out["entropy"] = layer.load_entropy;  // not a number without pairs, which is written as null
  out["counts"] = layer.counts_DE;
  if (!tested) return out;
  out["mutual_information"] = layer.mutual_information;
  out["specialisation"] = layer.normalised;
  out["percentile_99"] = layer.percentile_99;
  out["p_value"] = layer.p_value;
  out["above"] = std::isnan(layer.percentile_99) ? Json() : Json(layer.above);
  return out;
}

Json comparison_json(const analyze::Specialisation& found) {
  Json layers = Json::array();
  for (const auto& layer : found.layers)
    layers.push_back(division_json(layer, found.domains.size() > 1));
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
      if (all == 0)
        std::printf("  %*s", width(found.domains[d]), "-");
      else
        std::printf("  %*.1f%%", width(found.domains[d]) - 1,
                    100 * static_cast<double>(layer.counts_DE[d][e]) / all);
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
    std::printf("  specialisation %.4f of 1 (%.4f nats); ", layer.normalised,
                layer.mutual_information);
    if (std::isnan(layer.percentile_99))
      std::printf("%s permutations cannot tell it from chance, which takes %s, p = %.3g\n",
                  grouped(found.permutations).c_str(),
                  grouped(analyze::kFewestPermutations).c_str(), layer.p_value);
    else
      std::printf("99 %% of %s permutations stay within %.4f: %s, p = %.3g\n",
                  grouped(found.permutations).c_str(), layer.percentile_99,
                  layer.above ? "more than chance" : "no more than chance", layer.p_value);
  }
  std::fflush(stdout);
}

/// What one pass over the rows gives.
struct Findings {
  analyze::RoutingCounts counts;
  analyze::RoutingStatistics statistics;
  analyze::MetricSummary metrics;
};

Findings look_at(const AnalyzeSource& source, const AnalyzeCommand& o) {
  const auto choices = o.choices == "first" ? analyze::Choices::kFirst : analyze::Choices::kAll;
  Findings out;
  out.counts.domains = source.info.domains;
  analyze::StatisticsCollector collector(
      {.vocabulary = source.info.vocabulary, .position_bins = o.positions, .choices = choices});
  std::optional<analyze::TraceWriter> trace;
  if (!o.trace.empty()) trace.emplace(real_files(), o.trace, source.info);
  source.rows(o.rows, [&](const analyze::RoutedRows& rows) {
    analyze::add_rows(out.counts, rows, choices);
    collector.add(rows);
    if (trace) trace->add(rows);
  });
  if (trace) trace->finish();
  out.statistics = std::move(collector).finish();
  if (source.metrics) out.metrics = analyze::summarise_metrics(*source.metrics);
  return out;
}

/// The report of a run, of a comparison, or of a run as one of its checkpoints saw it.
void write_report(const AnalyzeCommand& o) {
  Path folder = o.model;
  check<ConfigError>(!std::filesystem::is_regular_file(folder), "analyze",
                     "expected a run or what `moe compare` made for --out, got the file '", o.model,
                     "'. Name a folder.");
  report::GatherOptions options;
  options.permutations = o.test.permutations;
  options.seed = static_cast<uint64_t>(o.seed);
  options.verify = !o.no_verify;
  if (real_files().exists(folder / checkpoint::kManifestName)) {
    options.checkpoint = folder;
    if (const auto run = run_of_checkpoint(folder)) folder = *run;
  }
  report::write_report(folder, o.out, options);
  log::info(concat("report: ", o.out));
}

int run_analyze(const AnalyzeCommand& o) {
  check_one_of("analyze", "--choices", o.choices, {"all", "first"});
  check<ConfigError>(!o.rows.logits || !o.trace.empty(), "analyze",
                     "expected --trace beside --trace-logits, got none. Name the file to write.");
  for (const auto& [name, length] :
       {std::pair{"--tokens", o.lengths.tokens}, {"--pairs", o.lengths.pairs}})
    check<ConfigError>(length >= 0, name, "expected a number of at least 0, got ", length,
                       ". Correct it.");
  use_threads(o.threads);
  if (!o.out.empty()) {
    check<ConfigError>(o.settings.empty() && o.domains.empty(), "analyze",
                       "expected no --set and --domains beside --out, got ",
                       join(o.settings.empty() ? o.domains : o.settings),
                       ". A report shows the run as it was: leave them out.");
    check<ConfigError>(!o.top_k, "analyze",
                       "expected no --set-moe beside --out, got top_k=", o.top_k.value_or(0),
                       ". A report shows the run as it was: leave it out.");
    write_report(o);
    if (!o.json && o.trace.empty()) return 0;
  }
  SourceOptions how;
  how.settings = o.settings;
  how.top_k = o.top_k;
  how.verify = !o.no_verify;
  const AnalyzeSource source = open_source(o.model, how);
  auto test = o.test;
  test.seed = static_cast<uint64_t>(o.seed);

  const auto [counts, statistics, metrics] = look_at(source, o);
  const auto all = analyze::specialisation(counts, {}, test);
  std::vector<analyze::Specialisation> found = {all};
  if (!o.domains.empty()) found.push_back(analyze::specialisation(counts, o.domains, test));

  if (o.json) {
    Json document = {{"checkpoint", source.info.model},   {"step", source.info.step},
                     {"tokens", counts.tokens},           {"choices", o.choices},
                     {"permutations", test.permutations}, {"seed", o.seed}};
    add_set_moe(document, o.top_k);
    document.update(comparison_json(all));
    if (found.size() > 1) document["chosen"] = comparison_json(found[1]);
    document["statistics"] = statistics_json(statistics, *source.tokenizer, o.lengths);
    if (!metrics.empty()) document["metrics"] = metrics_json(metrics);
    print_json(document);
    return 0;
  }
  std::printf("%s, step %s: %s tokens of validation data\n", source.info.model.c_str(),
              grouped(source.info.step).c_str(), grouped(counts.tokens).c_str());
  std::printf("Columns of domains: the share of the domain's %s that each expert takes.\n",
              o.choices == "all" ? "choices" : "first choices");
  for (const auto& comparison : found) print_comparison(comparison);
  print_statistics(statistics, *source.tokenizer, o.lengths);
  if (!metrics.empty())
    std::printf("\nWhat the run logged:\n%s\n", analyze::summary_table(metrics).c_str());
  return 0;
}

}  // namespace

void add_analyze(CLI::App& program, Session& session) {
  add_command<AnalyzeCommand>(
      program, session,
      {"analyze",
       "Which experts serve which domains and tokens, and whether that is more than chance.",
       "moe analyze out/demo/moe --domains english,turkish   # after make demo", setup_analyze,
       run_analyze});
}

}  // namespace moe::tools
