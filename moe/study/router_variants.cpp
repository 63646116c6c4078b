// S tokens of a sequence, K choices, E experts.
#include <algorithm>

#include <moe/layers/feed_forward.h>
#include <moe/models/architectures/decoder.h>
#include <moe/routing/router.h>
#include <moe/study/recommended.h>
#include <moe/study/settings.h>
#include <moe/train/compare.h>

namespace moe::study {

namespace {

constexpr const char* kCausal = "causal";
constexpr const char* kBidirectional = "bidirectional";
const std::string kPlain = "switch 0.01, z_loss 0.001";

models::DecoderOptions options_of(const train::RunOptions& run) {
  models::DecoderOptions out;
  read_fields(out, run.model.options, "model");
  return out;
}

bool looks_ahead(const std::string& kind, const models::DecoderOptions& model) {
  const auto& moe = model.uniform.moe;
  try {
    return routing::routers()
        .at(kind)
        .make({.d_model = model.d_model,
               .num_experts = moe.num_experts,
               .top_k = moe.top_k,
               .tensors = at::TensorOptions(at::kMeta)},
              {})
        ->looks_ahead();
  } catch (const Error&) {
    return false;  // trying its settings says what it wants
  }
}

/// The ways to try a kind that nobody has recommended settings for, most usual first.
std::vector<Recommended> usual_settings(const std::string& kind) {
  const std::string spec = concat("model.moe.router={kind=", Value(kind).text(), "}");
  const std::string losses =
      "model.moe.balance=[{kind=\"switch\", coefficient=0.01}, {kind=\"z_loss\", "
      "coefficient=0.001}]";
  const std::string none = "model.moe.balance=[]", one = "model.moe.top_k=1";
  return {{.kind = kind, .settings = {spec, losses}, .note = kPlain},
          {.kind = kind, .settings = {spec, none}, .note = "no loss"},
          {.kind = kind, .settings = {spec, one, losses}, .note = "one expert a token, " + kPlain},
          {.kind = kind, .settings = {spec, one, none}, .note = "one expert a token, no loss"}};
}

/// Fills in the first of `ways` that works, or why none does.
void set_up(Variant& row, const train::RunOptions& base, const std::vector<Recommended>& ways) {
  for (const auto& way : ways) {
    row.note = way.note;
    try {
      row.run = with_settings(base, way.settings);
      row.left_out = trial(row.run);
    } catch (const ConfigError& error) {
      row.left_out = error.what();
    }
    if (row.left_out.empty()) return;
    row.note.clear();
  }
}

Variant row_of(const std::string& kind, const train::RunOptions& base,
               const train::RunOptions& both_ways) {
  Variant row{.name = kind, .kind = kind, .group = kCausal};
  const Recommended* known = find_recommended(recommended_routers(), kind);
  if (known && !known->left_out.empty()) {
    row.left_out = known->left_out;
    return row;
  }
  const bool ahead = looks_ahead(kind, options_of(base));
  if (ahead) row.group = kBidirectional;
  set_up(row, ahead ? both_ways : base,
         known ? std::vector<Recommended>{*known} : usual_settings(kind));
  row.reference = known && known->reference;
  return row;
}

Variant twin_row(const train::RunOptions& base, const std::string& group) {
  Variant row{.name = group == kCausal ? "dense twin" : "dense twin, bidirectional",
              .kind = "dense_twin",
              .group = group,
              .reference = true,
              .note = "no experts: a dense block of the FLOPs of top-2"};
  row.run = base;
  row.run.model = train::dense_twin(base.model);
  return row;
}

/// Blocks that are no router and still divide tokens among experts (soft_moe, multi-head MoE): the
/// base's experts, choices and heads, wherever the kind has such options.
Variant block_row(const std::string& kind, const train::RunOptions& base,
                  const train::RunOptions& both_ways) {
  const auto model = options_of(base);
  const auto& moe = model.uniform.moe;
  const auto fields = layers::feed_forwards().at(kind).fields();
  layers::FeedForwardSpec spec;
  spec.kind = kind;
  Table expert;
  expert.set("kind", moe.expert.kind);
  expert.set("d_ff", model.uniform.expert_width(model.d_model));
  const auto set = [&](const char* name, Value value) {
    if (has_field(fields, name)) spec.options.set(name, std::move(value));
  };
  set("num_experts", moe.num_experts);
  set("top_k", moe.top_k);
  set("expert", expert);
  // As many slots in all as there are pairs of token and expert otherwise: S K / E of each expert.
  const int64_t slots = std::max<int64_t>(base.data.sequence * moe.top_k / moe.num_experts, 1);
  set("slots", slots);
  Variant row{.name = kind, .kind = kind, .group = kCausal, .note = "a feed-forward block"};
  for (const auto* run : {&base, &both_ways}) {
    row.group = run == &base ? kCausal : kBidirectional;
    try {
      row.run = with_feed_forward(*run, spec);
      row.left_out = trial(row.run);
    } catch (const ConfigError& error) {
      row.left_out = error.what();
    }
    if (row.left_out.empty()) break;
  }
  if (has_field(fields, "slots"))
    row.note += concat(", ", slots, " slots an expert: as many as there are pairs with top-2");
  return row;
}

}  // namespace

std::vector<Variant> router_variants(const train::RunOptions& base) {
  const auto both_ways = bidirectional(base);
  std::vector<Variant> out;
  const auto& topk = *find_recommended(recommended_routers(), "topk");
  const auto add_reference = [&](const std::string& name, const train::RunOptions& run,
                                 std::vector<std::string> settings, const std::string& group,
                                 const std::string& note) {
    Variant row{.name = name, .kind = "topk", .group = group, .reference = true};
    settings.insert(settings.begin(), topk.settings.begin(), topk.settings.end());
    row.run = with_settings(run, settings);
    row.note = note;
    row.baseline = group == kBidirectional;
    out.push_back(std::move(row));
  };
  for (const auto& kind : routing::routers().names()) {
    out.push_back(row_of(kind, base, both_ways));
    if (kind == "topk") out.back().baseline = true;
  }
  add_reference("topk, one expert", base, {"model.moe.top_k=1"}, kCausal,
                "what rules of one expert a token compare with; " + topk.note);
  add_reference("topk, no balance", base, {"model.moe.balance=[]"}, kCausal, "no loss");
  add_reference("topk, bidirectional", both_ways, {}, kBidirectional, topk.note);
  for (const auto& kind : layers::feed_forwards().names())
    if (kind != "dense" && kind != "moe") out.push_back(block_row(kind, base, both_ways));
  out.push_back(twin_row(base, kCausal));
  out.push_back(twin_row(both_ways, kBidirectional));
  return out;
}

}  // namespace moe::study
