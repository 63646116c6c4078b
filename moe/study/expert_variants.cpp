// F hidden units of an expert, E experts, K choices.
#include <algorithm>
#include <cstdlib>

#include <moe/experts/experts.h>
#include <moe/models/architectures/decoder.h>
#include <moe/study/settings.h>
#include <moe/train/compare.h>

namespace moe::study {

namespace {

constexpr const char* kEqual = "equal FLOPs";
constexpr const char* kOwn = "own width";
constexpr int64_t kWidthStep = 4, kMostWidth = 4096;

train::RunOptions with_expert(const train::RunOptions& base, const std::string& kind,
                              int64_t d_ff) {
  return with_settings(
      base, {concat("model.moe.expert={kind=", Value(kind).text(), ", d_ff=", d_ff, "}")});
}

/// The width at which the model costs `flops` a token, to half a step; -1 where the kind's cost has
/// nothing to do with its width. Costs rise with the width.
int64_t width_for(const train::RunOptions& base, const std::string& kind, int64_t flops) {
  const auto cost = [&](int64_t d_ff) { return size_of(with_expert(base, kind, d_ff)).flops; };
  int64_t low = 1, high = kMostWidth / kWidthStep;
  if (cost(low * kWidthStep) == cost(high * kWidthStep)) return -1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    (cost(middle * kWidthStep) < flops) ? low = middle + 1 : high = middle;
  }
  const int64_t above = low * kWidthStep, below = std::max(above - kWidthStep, kWidthStep);
  return std::llabs(cost(below) - flops) <= std::llabs(cost(above) - flops) ? below : above;
}

void set_up_expert(Variant& row, const std::function<train::RunOptions()>& make) {
  try {
    row.run = make();
    row.left_out = trial(row.run);
  } catch (const ConfigError& error) {
    row.left_out = error.what();
  }
}

void add_kind(std::vector<Variant>& out, const train::RunOptions& base, const std::string& kind,
              const std::string& baseline, int64_t d_ff, int64_t flops) {
  Variant own{.name = kind + ", same width", .kind = kind, .group = kOwn};
  own.baseline = kind == baseline;
  own.note = concat("d_ff = ", d_ff);
  set_up_expert(own, [&] { return with_expert(base, kind, d_ff); });
  Variant equal{.name = kind, .kind = kind, .group = kEqual};
  equal.baseline = kind == baseline;
  set_up_expert(equal, [&] {
    const int64_t width = width_for(base, kind, flops);
    check<ConfigError>(width > 0, "study", "expected experts whose cost depends on their width, '",
                       kind, "' has no hidden units. It stands at its own.");
    equal.note = concat("d_ff = ", width);
    return with_expert(base, kind, width);
  });
  out.push_back(std::move(equal));
  out.push_back(std::move(own));
}

/// Ways to cut and place experts, at equal FLOPs.
void add_layouts(std::vector<Variant>& out, const train::RunOptions& base,
                 const models::DecoderOptions& model) {
  const auto& moe = model.uniform.moe;
  const int64_t F = model.uniform.expert_width(model.d_model);
  const auto width = [](int64_t d_ff) { return concat("model.moe.expert.d_ff=", d_ff); };
  const auto add = [&](const std::string& name, const std::string& note,
                       std::vector<std::string> settings) {
    Variant row{.name = name, .kind = "layout", .group = kEqual, .note = note};
    set_up_expert(row, [&] { return with_settings(base, settings); });
    out.push_back(std::move(row));
  };
  add("fine-grained", "4 times the experts and choices, a quarter of the width (DeepSeek-MoE)",
      {concat("model.moe.num_experts=", 4 * moe.num_experts),
       concat("model.moe.top_k=", 4 * moe.top_k), width(std::max<int64_t>(F / 4, 1))});
  if (moe.top_k > 1)
    add("shared expert", "one of the choices is an expert that takes every token (DeepSeek-MoE)",
        {concat("model.moe.top_k=", moe.top_k - 1),
         concat("model.moe.shared={kind=\"dense\", d_ff=", F, "}")});
  Variant twin{.name = "dense twin", .kind = "dense_twin", .group = kEqual, .reference = true};
  twin.note = "no experts: a dense block of the same FLOPs";
  twin.run = base;
  twin.run.model = train::dense_twin(base.model);
  out.push_back(std::move(twin));
}

}  // namespace

std::vector<Variant> expert_variants(const train::RunOptions& base) {
  models::DecoderOptions model;
  read_fields(model, base.model.options, "model");
  const int64_t flops = size_of(base).flops, d_ff = model.uniform.expert_width(model.d_model);
  std::vector<Variant> out;
  for (const auto& kind : experts::expert_kinds().names())
    add_kind(out, base, kind, model.uniform.moe.expert.kind, d_ff, flops);
  add_layouts(out, base, model);
  return out;
}

}  // namespace moe::study
