#include <algorithm>
#include <set>

#include <moe/config/differences.h>
#include <moe/config/toml.h>
#include <moe/study/plan.h>
#include <moe/train/sources.h>

namespace moe::study {

namespace {

constexpr uint64_t kMostBytes = uint64_t{64} << 20;
constexpr int64_t kMostSeeds = 100;

/// A name for a folder: kinds that users register may be called anything.
std::string folder_name(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    if (plain)
      out += c;
    else if (!out.empty() && out.back() != '-')
      out += '-';
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out.empty() ? "kind" : out;
}

/// What the files of the data hold, whatever they are called and wherever they are.
std::string sources_of(const train::RunOptions& run) {
  std::string out;
  for (const auto& [setting, record] : train::record_sources(run))
    out += concat(out.empty() ? "" : " ", setting, '=', record.bytes, ':', record.checksum);
  return out;
}

/// Keeps what `kinds` name, and what it is told from.
void keep_kinds(std::vector<Variant>& variants, const std::vector<std::string>& kinds) {
  if (kinds.empty()) return;
  std::set<std::string> known;
  for (const auto& row : variants) known.insert(row.kind);
  for (const auto& kind : kinds)
    check_one_of("study", "a kind of --kinds", kind, {known.begin(), known.end()});
  const auto named = [&](const Variant& row) {
    return std::ranges::find(kinds, row.kind) != kinds.end();
  };
  std::set<std::string> groups;
  for (const auto& row : variants)
    if (named(row)) groups.insert(row.group);
  std::erase_if(variants, [&](const Variant& row) {
    return !named(row) && !(row.baseline && groups.contains(row.group));
  });
}

}  // namespace

Plan make_plan(const StudyOptions& options) {
  check<ConfigError>(options.seeds >= 1 && options.seeds <= kMostSeeds, "study",
                     "expected seeds in [1, ", kMostSeeds, "], got ", options.seeds,
                     ". Correct it.");
  const Study& study = study_named(options.name);
  train::RunOptions base = options.base;
  // What is timed and kept is training; a run of a study is begun anew, never gone on with.
  base.train.tensorboard.enabled = false;
  base.train.tensorboard.sample_tokens = 0;
  base.train.checkpoint_every = 0;
  base.train.monitor.unused_steps = 0;
  base.train.monitor.overload = 0;
  base.train.threads = std::max<int64_t>(base.train.threads, 1);
  base.train.log_every = study.log_every;
  Plan plan{.name = options.name, .seeds = options.seeds, .variants = study.variants(base)};
  keep_kinds(plan.variants, options.kinds);
  const std::string sources = sources_of(base);
  for (int64_t seed = 1; seed <= options.seeds; ++seed) {
    std::set<std::string> taken;
    for (size_t i = 0; i < plan.variants.size(); ++i) {
      const Variant& row = plan.variants[i];
      if (!row.left_out.empty()) continue;
      std::string folder = folder_name(row.name);
      while (!taken.insert(folder).second) folder += '_';
      Task task{.variant = row.name,
                .seed = seed,
                .skew = row.skew,
                .favoured = row.favoured,
                .sources = sources,
                .run = row.run};
      task.run.train.seed = seed;
      plan.runs.push_back({i, Path("runs") / folder / concat("seed-", seed), std::move(task)});
    }
  }
  return plan;
}

void check_same_settings(const Plan& plan, const Path& out) {
  std::set<std::string> changed;
  size_t runs = 0;
  for (const auto& run : plan.runs) {
    const Path folder = out / run.folder;
    if (!has_result(folder)) continue;
    const auto found =
        config::differences(config::read_toml(folder / kTaskFile),
                            config::parse_toml(config::write_toml(table_of(run.task)), "the plan"));
    size_t kept = 0;
    for (const auto& [key, was, is] : found) {
      // Where the data lies does not matter; what it holds does.
      if (key.starts_with("run.data.domains[")) continue;
      ++kept;
      changed.insert(concat(key, ": was ", was, ", is ", is));
    }
    runs += kept > 0;
  }
  if (changed.empty()) return;
  fail<ConfigError>("study", "expected the settings of the study in ", out.string(),
                    ", got other for ", runs,
                    " of its finished runs. Give the settings it had, remove those folders of ",
                    (out / "runs").string(), ", or choose another --out.",
                    indented_list({changed.begin(), changed.end()}));
}

bool has_result(const Path& folder) {
  return real_files().exists(folder / kResultFile);
}

RunResult read_result(const Path& folder) {
  const Path file = folder / kResultFile;
  return parse_result(read_file(real_files(), file, kMostBytes), file.string());
}

}  // namespace moe::study
