// E experts, D in, F hidden, H = F or 2F, O out, r rank.
#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>

#include <moe/base/error.h>
#include <moe/checkpoint/manifest.h>
#include <moe/checkpoint/publish.h>
#include <moe/checkpoint/tensors.h>
#include <moe/config/toml.h>
#include <moe/experts/expert_options.h>
#include <moe/layers/moe_layer.h>
#include <moe/models/expert_forms.h>
#include <moe/parameters/list.h>
#include <moe/parameters/materialise.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfForms = "models/expert_forms";
constexpr const char* kAdapters = "adapters";

using Tensors = std::map<std::string, Tensor>;

Tensors by_name(const Model& model) {
  Tensors out;
  for (const auto& [name, tensor, info] : tensors_of(model)) out[name] = tensor;
  return out;
}

/// Changes every table of an expert in `settings` that `change` wants to; how many those were.
int64_t change_experts(Table& settings, const std::function<bool(ExpertSpec&)>& change) {
  int64_t changed = 0;
  for (const auto& key : settings.keys()) {
    Value& value = *settings.find(key);
    if (auto* const array = value.as<Array>()) {
      for (Value& item : *array)
        if (auto* const table = item.as<Table>()) changed += change_experts(*table, change);
    }
    auto* const table = value.as<Table>();
    if (!table) continue;
    if (key != "expert") {
      changed += change_experts(*table, change);
      continue;
    }
    ExpertSpec spec;
    read_fields(spec, *table, key);
    spec.resolve();
    if (!change(spec)) continue;
    value = write_fields(spec);
    ++changed;
  }
  return changed;
}

/// A model like `model` but for its experts, unfilled but for what both have.
LoadedModel like(const LoadedModel& model, const char* kinds,
                 const std::function<bool(ExpertSpec&)>& change) {
  ModelSpec spec = model.spec();
  spec.resolve();
  LoadedModel out = model;
  out.family.clear();
  out.names = nullptr;
  out.converted_from = model.family.empty() ? model.converted_from : model.family;
  check<ConfigError>(change_experts(spec.options, change) > 0, kPlaceOfForms,
                     "expected a model with experts of the kind ", kinds, ", got none in '",
                     model.folder.string(), "'. `moe inspect` shows its experts.");
  out.config.set("model", write_fields(spec));
  out.model = make_model(spec);
  materialise(*out.model, model.model->device(), model.model->dtype());
  out.model->eval();
  const at::NoGradGuard no_grad;
  const Tensors theirs = by_name(*model.model);
  for (const auto& [name, tensor, info] : tensors_of(*out.model))
    if (const auto found = theirs.find(name);
        found != theirs.end() && found->second.sizes() == tensor.sizes())
      Tensor(tensor).copy_(found->second);
  return out;
}

/// Options of one kind as another kind has them.
template <class To, class From>
To same_form(const From& from, int64_t d_ff) {
  To out;
  out.d_ff = d_ff;
  out.activation = from.activation;
  out.bias = from.bias;
  out.dropout = from.dropout;
  return out;
}

template <class Options>
Options options_of(const ExpertSpec& spec) {
  Options out;
  read_fields(out, spec.options, "expert");
  return out;
}

std::string part_of(const std::string& name, const std::string& part) {
  return name.substr(0, name.rfind('.') + 1) + part;
}

/// u (O, r) and v (r, I) with the least |w - u v|, and that over |w|.
struct Factors {
  Tensor u, v;
  double error = 0;
};

Factors factors_of(const Tensor& w_OI, int64_t rank) {
  const Tensor w = w_OI.to(w_OI.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  const auto [u, s, v] = at::linalg_svd(w, /*full_matrices=*/false);
  const Tensor root_r = s.slice(0, 0, rank).sqrt();
  Factors out = {u.slice(1, 0, rank) * root_r, v.slice(0, 0, rank) * root_r.unsqueeze(1)};
  const double size = w.norm().item<double>();
  if (size > 0) out.error = (w - at::matmul(out.u, out.v)).norm().item<double>() / size;
  return out;
}

/// Fills u_EOr and v_ErI from w_EOI; the mean and the worst error.
std::pair<double, double> factorise(const Tensor& w_EOI, Tensor u_EOr, Tensor v_ErI) {
  double sum = 0, worst = 0;
  for (int64_t e = 0; e < w_EOI.size(0); ++e) {
    const Factors factors = factors_of(w_EOI[e], u_EOr.size(2));
    u_EOr[e].copy_(factors.u);
    v_ErI[e].copy_(factors.v);
    sum += factors.error;
    worst = std::max(worst, factors.error);
  }
  return {sum / static_cast<double>(w_EOI.size(0)), worst};
}

/// The tensors of layers with "lora" experts that are not their base: routers and adapters.
Parameters adapters_of(const Model& model) {
  std::set<const void*> wanted;  // by tensor; a frozen base is a buffer of the experts
  const auto add = [&](const std::vector<Tensor>& tensors) {
    for (const Tensor& tensor : tensors) wanted.insert(tensor.unsafeGetTensorImpl());
  };
  for (const auto& block : model.blocks()) {
    const auto* layer = block->feed_forward().mixture();
    if (!layer || layer->options().expert.kind != "lora") continue;
    add(layer->router().parameters());
    add(layer->router().buffers());
    add(layer->experts().parameters());
  }
  check<ConfigError>(!wanted.empty(), kPlaceOfForms,
                     "expected a model with experts of the kind 'lora', got none. Give one whose "
                     "expert.kind is \"lora\".");
  Parameters out;
  for (const auto& parameter : tensors_of(model))
    if (wanted.contains(parameter.tensor.unsafeGetTensorImpl())) out.push_back(parameter);
  return out;
}

std::string text_of_model(ModelSpec spec) {
  spec.resolve();
  Table out;
  out.set("model", write_fields(spec));
  return config::write_toml(out);
}

}  // namespace

LowRankModel to_low_rank(const LoadedModel& model, int64_t rank, bool factor_out) {
  check<ConfigError>(rank >= 1, kPlaceOfForms, "expected a rank of at least 1, got ", rank,
                     ". Raise it.");
  LowRankModel out;
  out.model = like(model, "'gated' or 'ffn'", [&](ExpertSpec& spec) {
    if (spec.kind != "gated" && spec.kind != "ffn") return false;
    LowRankExpert low;
    if (spec.kind == "gated")
      low = same_form<LowRankExpert>(options_of<GatedExpert>(spec), spec.d_ff);
    else
      low = same_form<LowRankExpert>(options_of<FfnExpert>(spec), spec.d_ff);
    low.gated = spec.kind == "gated";
    low.rank = rank;
    low.factor_out = factor_out;
    spec = low;
    return true;
  });
  const at::NoGradGuard no_grad;
  const Tensors whole = by_name(*model.model), thin = by_name(*out.model.model);
  for (const auto& [name, v_in] : thin) {
    if (!name.ends_with(".v_in")) continue;
    LowRankError error;
    error.experts = name.substr(0, name.rfind('.'));
    std::tie(error.mean_in, error.worst_in) =
        factorise(whole.at(part_of(name, "w_in")), thin.at(part_of(name, "u_in")), v_in);
    if (factor_out)
      std::tie(error.mean_out, error.worst_out) =
          factorise(whole.at(part_of(name, "w_out")), thin.at(part_of(name, "u_out")),
                    thin.at(part_of(name, "v_out")));
    out.errors.push_back(error);
  }
  return out;
}

LoadedModel merge_adapters(const LoadedModel& model) {
  LoadedModel out = like(model, "'lora'", [&](ExpertSpec& spec) {
    if (spec.kind != "lora") return false;
    const auto lora = options_of<LoraExpert>(spec);
    if (lora.gated)
      spec = same_form<GatedExpert>(lora, spec.d_ff);
    else
      spec = same_form<FfnExpert>(lora, spec.d_ff);
    return true;
  });
  // Each layer may have an alpha of its own.
  const auto blocks = model.model->blocks();
  std::vector<double> of_blocks;
  for (const auto& block : blocks)
    if (const auto* const mixture =
            dynamic_cast<const layers::MoELayerImpl*>(&block->feed_forward()))
      if (const auto& spec = mixture->options().expert; spec.kind == "lora") {
        ExpertSpec resolved = spec;
        resolved.resolve();
        const auto lora = options_of<LoraExpert>(resolved);
        of_blocks.push_back(lora.alpha / static_cast<double>(lora.rank));
      }
  const at::NoGradGuard no_grad;
  const Tensors theirs = by_name(*model.model), ours = by_name(*out.model);
  size_t layer = 0;
  for (const auto& [name, base, info] : tensors_of(*model.model)) {
    if (!name.ends_with(".base_in")) continue;
    check(layer < of_blocks.size(), kPlaceOfForms, "expected a block for '", name,
          "', found none. Merge models whose blocks hold their experts.");
    const double scale = of_blocks[layer++];
    for (const std::string side : {"in", "out"}) {
      const auto part = [&](const char* before) { return part_of(name, before + side); };
      Tensor w = ours.at(part("w_"));
      const auto type = w.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
      w.copy_(theirs.at(part("base_")).to(type) +
              at::matmul(theirs.at(part("up_")).to(type), theirs.at(part("down_")).to(type)) *
                  scale);
      if (const auto bias = ours.find(part("b_")); bias != ours.end())
        Tensor(bias->second).copy_(theirs.at(part("base_b_")) + theirs.at(part("b_")));
    }
  }
  return out;
}

void save_adapters(const LoadedModel& model, const Path& folder) {
  const Parameters adapters = adapters_of(*model.model);
  checkpoint::Publication publication((folder / "").parent_path());
  const std::string text = text_of_model(model.spec());
  publication.add("config.toml", [text](OutputFile& out) { out.write(bytes_of(text)); });
  checkpoint::add_tensors(publication, kAdapters, adapters);
  publication.finish({{kAdapters, std::to_string(adapters.size())}});
}

void load_adapters(LoadedModel& base, const Path& folder, bool verify) {
  const auto manifest =
      verify ? checkpoint::verify_manifest(folder) : checkpoint::read_manifest(folder);
  check(manifest.metadata.contains(kAdapters), kPlaceOfForms,
        "expected a folder of adapters, got '", folder.string(),
        "', a whole model. Write adapters with moe convert --adapters.");
  const Path config = folder / "config.toml";
  constexpr int64_t kLargest = 1 << 24;
  const std::string theirs = read_file(real_files(), config, kLargest);
  check<ConfigError>(
      theirs == text_of_model(base.spec()), kPlaceOfForms,
      "expected adapters of a model of the same configuration as '", base.folder.string(),
      "', got other settings in '", config.string(),
      "'. Compare the two with moe diff, and give the base that they were trained on.");
  checkpoint::load_tensors(folder, kAdapters, adapters_of(*base.model));
}

}  // namespace moe::models
