#pragma once
// What a run leaves behind, for tests that compare runs; and an objective that fails where a test
// wants it to.

#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <nlohmann/json.hpp>

#include <moe/objectives/objective.h>

#include "tests/train/tiny_bench.h"

namespace moe::test {

/// metrics.jsonl without what depends on time.
inline std::vector<nlohmann::json> metrics_without_times(const Path& run) {
  std::ifstream in(run / "metrics.jsonl");
  std::vector<nlohmann::json> out;
  for (std::string line; std::getline(in, line);) {
    auto object = nlohmann::json::parse(line);
    object.erase("tokens_per_second");
    object.erase("seconds");
    out.push_back(object);
  }
  return out;
}

/// Names in the folder of a run's checkpoints.
inline std::set<std::string> checkpoints_of(const Path& run) {
  std::set<std::string> out;
  for (const auto& name : real_files().list(run / "checkpoints")) out.insert(name);
  return out;
}

struct FailsOnOptions {
  std::vector<int64_t> target_sums;

  template <class Visitor>
  void fields(Visitor& v) {
    v("target_sums", target_sums, "sums of the targets of batches that have no finite loss");
  }
};

/// next_token, but NaN on some batches.
class FailsOn final : public objectives::Objective {
 public:
  FailsOn(const objectives::ObjectiveShape& shape, const FailsOnOptions& options)
      : inner_(objectives::ObjectiveSpec().make(shape)), options_(options) {}

  int64_t targets(const data::Batch& batch) const override { return inner_->targets(batch); }
  objectives::ObjectiveResult forward(models::Model& model, const models::ModelOutput& output,
                                      const data::Batch& batch,
                                      at::ScalarType compute) const override {
    auto out = inner_->forward(model, output, batch, compute);
    const auto sum = batch.targets.sum().item<int64_t>();
    for (const int64_t bad : options_.target_sums)
      if (sum == bad) out.loss = out.loss * std::nan("");
    return out;
  }
  std::vector<objectives::Metric> metrics(const at::Tensor& sums_M) const override {
    return inner_->metrics(sums_M);
  }

 private:
  std::shared_ptr<objectives::Objective> inner_;
  FailsOnOptions options_;
};

/// Makes the steps that train on these batches of `run` (from 0, as they come without rollbacks)
/// fail, also after they were moved.
inline void fail_on(train::RunOptions& run, const std::vector<int64_t>& steps) {
  static const bool known = [] {
    objectives::objectives().add<FailsOn, FailsOnOptions>("fails_on", "for tests of bad steps");
    return true;
  }();
  static_cast<void>(known);
  const Bench bench(run);
  Array sums;
  for (const int64_t step : steps) {
    const auto batch = bench.batch(step, 0, run.train.accumulation);
    sums.emplace_back(batch.targets.sum().item<int64_t>());
  }
  run.train.objective = {};
  run.train.objective.kind = "fails_on";
  run.train.objective.options.set("target_sums", sums);
}

}  // namespace moe::test
