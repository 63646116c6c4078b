// What a model is and costs, for people and as JSON.

#include "tools/moe/inspect_facts.h"

#include <array>
#include <iomanip>
#include <iostream>
#include <set>

#include <moe/layers/moe_layer.h>
#include <moe/models/counts.h>
#include <moe/parameters/list.h>

#include "tools/moe/model_argument.h"

namespace moe::tools {

namespace {

/// Bytes of one number in each type that weights are stored in; 4-bit ones share a scale of a byte
/// by 32.
const std::vector<std::pair<const char*, double>> kStorage = {
    {"float32", 4}, {"bfloat16", 2}, {"float8", 1}, {"mxfp4", 0.5 + 1.0 / 32}};

int64_t stored_bytes(int64_t numbers, double width) {
  return static_cast<int64_t>(std::llround(static_cast<double>(numbers) * width));
}

/// The MoE layers of a model: experts of a layer, how many a token gets, numbers in one of them.
Json experts_of(const models::Model& model) {
  std::set<int64_t> per_layer, sizes;
  std::set<double> active;
  int64_t layers = 0;
  for (const auto& block : model.blocks()) {
    const auto& feed_forward = block->feed_forward();
    const auto* moe = feed_forward.mixture();
    if (!moe) continue;
    ++layers;
    int64_t numbers = 0;
    for (const Parameter& parameter : parameters_of(moe->experts()))
      numbers += numbers_in_use(parameter);
    per_layer.insert(moe->options().num_experts);
    // Of a block around a mixture, what its sub-tokens meet together.
    active.insert(moe == &feed_forward ? moe->active_experts()
                                       : feed_forward.active_share({.part = Part::kExperts}) *
                                             static_cast<double>(moe->options().num_experts));
    sizes.insert(numbers / moe->options().num_experts);
  }
  if (layers == 0) return nullptr;
  // One number where all layers agree.
  const auto all = [](const auto& values) {
    Json out = Json::array();
    for (const auto value : values)
      value == std::floor(value) ? out.push_back(static_cast<int64_t>(value))
                                 : out.push_back(value);
    return out.size() == 1 ? out.front() : out;
  };
  return {{"layers", layers},
          {"per_layer", all(per_layer)},
          {"active_per_token", all(active)},
          {"parameters_each", all(sizes)}};
}

using Units = std::array<const char*, 5>;
constexpr Units kCounts = {"", "k", "M", "B", "T"}, kBytes = {"B", "kB", "MB", "GB", "TB"},
                kFlops = {" FLOP", " kFLOP", " MFLOP", " GFLOP", " TFLOP"};

/// "46.7B", "429.0M"; three or four digits.
std::string in_units(double value, const Units& units) {
  size_t unit = 0;
  for (; value >= 1000 && unit + 1 < units.size(); ++unit) value /= 1000;
  std::ostringstream out;
  out << std::fixed
      << std::setprecision(unit == 0    ? 0
                           : value < 10 ? 2
                                        : 1)
      << value << units[unit];
  return out.str();
}

std::string text_of(const Json& value) {
  if (!value.is_array()) return value.dump();
  return concat(value.front().dump(), "-", value.back().dump());
}

}  // namespace

Json facts_of(const Subject& subject, const std::string& dtype) {
  const auto model = models::make_model(subject.spec);
  const auto counts = models::count(*model);
  const auto traits = model->traits();
  const auto width = static_cast<int64_t>(c10::elementSize(parse_dtype(dtype)));
  Json out;
  if (!subject.published.empty()) out["name"] = subject.name;
  out["family"] = subject.family;
  out["architecture"] = subject.spec.architecture;
  if (subject.checkpoint) add_source(out, *subject.checkpoint);
  if (!subject.published.empty()) out["published"] = subject.published;
  if (!subject.note.empty()) out["note"] = subject.note;
  out["parameters"] = {{"total", counts.total},
                       {"active", counts.active},
                       {"active_without_input_embedding", counts.active_without_input_embedding},
                       {"active_without_embeddings", counts.active_without_embeddings}};
  out["experts"] = experts_of(*model);
  out["layers"] = model->blocks().size();
  out["flops_per_token"] = counts.flops_per_token;
  out["context_length"] = traits.context_length;
  out["memory_bytes"] = {{"parameters", counts.total * width},
                         {"gradients", counts.total * 4},
                         {"optimizer", counts.total * 8}};
  if (traits.causal) {
    out["memory_bytes"]["kv_cache"] = counts.state_numbers * width;
    out["kv_bytes_per_token"] =
        traits.context_length > 0 ? counts.state_numbers * width / traits.context_length : 0;
  }
  Json& stored = out["memory_bytes"]["parameters_by_dtype"];
  for (const auto& [name, bytes] : kStorage) stored[name] = stored_bytes(counts.total, bytes);
  return out;
}

void print_facts(const Json& f, const std::string& dtype) {
  const auto row = [](const std::string& name, const std::string& value, const std::string& note) {
    std::cout << "  " << name << std::string(32 - std::min<size_t>(31, name.size()), ' ') << value
              << note << '\n';
  };
  const auto number = [&](const std::string& name, const Json& value, const std::string& note) {
    row(name, grouped(value.get<int64_t>()), note);
  };
  const auto family = f["family"].get<std::string>(),
             architecture = f["architecture"].get<std::string>();
  if (family != architecture) std::cout << "family " << family << '\n';
  std::cout << "architecture " << architecture << '\n';
  if (f.contains("step") && !f["step"].is_null())
    std::cout << "step " << grouped(f["step"].get<int64_t>()) << " of "
              << f["checkpoint"].get<std::string>() << '\n';
  std::cout << "parameters\n";
  for (const auto& [name, value] : f["parameters"].items()) number(name, value, "");
  if (f.contains("published")) row("published", f["published"].get<std::string>(), "");
  if (!f["experts"].is_null()) {
    std::cout << "experts\n";
    number("layers", f["experts"]["layers"], "  (of " + f["layers"].dump() + ")");
    for (const auto* key : {"per_layer", "active_per_token", "parameters_each"})
      row(key,
          f["experts"][key].is_number_integer() ? grouped(f["experts"][key].get<int64_t>())
                                                : text_of(f["experts"][key]),
          "");
  }
  std::cout << "one token\n";
  number("flops_per_token", f["flops_per_token"],
         "  (forward, attention over " + std::to_string(f["context_length"].get<int64_t>()) +
             " tokens)");
  if (f.contains("kv_bytes_per_token"))
    number("kv_bytes_per_token", f["kv_bytes_per_token"], "  (" + dtype + ", at full context)");
  number("context_length", f["context_length"], "");
  std::cout << "memory in bytes\n";
  const auto& memory = f["memory_bytes"];
  number("parameters", memory["parameters"], "  (" + dtype + ")");
  for (const auto& [name, bytes] : memory["parameters_by_dtype"].items())
    if (name != dtype) number("parameters", bytes, "  (" + name + ")");
  if (memory.contains("kv_cache"))
    number("kv_cache", memory["kv_cache"], "  (" + dtype + ", one full sequence)");
  number("gradients", memory["gradients"], "  (training, float32)");
  number("optimizer", memory["optimizer"], "  (training, AdamW moments in float32)");
  if (f.contains("note")) std::cout << "note\n  " << f["note"].get<std::string>() << '\n';
}

void print_models(const std::vector<Json>& facts, const std::string& dtype) {
  std::vector<std::vector<std::string>> rows = {{"model", "total", "active", "without input",
                                                 "without embeddings", "experts", "each", "a token",
                                                 "context", "kv/token", "weights", "published"}};
  for (const auto& f : facts) {
    const auto& p = f["parameters"];
    const auto& e = f["experts"];
    const auto count = [&](const char* key) { return in_units(p[key].get<double>(), kCounts); };
    rows.push_back(
        {f["name"].get<std::string>(), count("total"), count("active"),
         count("active_without_input_embedding"), count("active_without_embeddings"),
         e.is_null() ? "-"
                     : concat(text_of(e["active_per_token"]), " of ", text_of(e["per_layer"])),
         e.is_null() || e["parameters_each"].is_array()
             ? "-"
             : in_units(e["parameters_each"].get<double>(), kCounts),
         in_units(f["flops_per_token"].get<double>(), kFlops),
         grouped(f["context_length"].get<int64_t>()),
         f.contains("kv_bytes_per_token") ? in_units(f["kv_bytes_per_token"].get<double>(), kBytes)
                                          : "-",
         in_units(f["memory_bytes"]["parameters"].get<double>(), kBytes),
         f.value("published", "-")});
  }
  std::vector<size_t> widths(rows.front().size());
  for (const auto& row : rows)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  for (const auto& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string space(widths[c] - row[c].size(), ' ');
      const bool words = c == 0 || c + 1 == row.size();
      std::cout << (c ? "  " : "") << (words ? "" : space) << row[c]
                << (words && c + 1 < row.size() ? space : "");
    }
    std::cout << '\n';
  }
  std::cout << "kv/token and weights as " << dtype
            << "; a token: a forward pass with attention over the whole context\n";
  for (const auto& f : facts)
    if (f.contains("note"))
      std::cout << f["name"].get<std::string>() << ": " << f["note"].get<std::string>() << '\n';
}

}  // namespace moe::tools
