#include <algorithm>
#include <cmath>

#include <moe/experts/experts.h>
#include <moe/layers/init.h>
#include <moe/ops/random_fill.h>

namespace moe::layers {

namespace {

using at::Tensor;

const std::vector<std::string> kSchemes = {"fan_in", "normal", "truncated_normal", "xavier_uniform",
                                           "kaiming_normal"};

std::string last_component(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

bool starts_with(const std::string& text, std::string_view start) {
  return text.rfind(start, 0) == 0;
}

/// Fills one matrix (…, outputs, inputs), beginning with number `first` of its stream.
void fill_matrix(Tensor values, const InitOptions& options, double factor,
                 const RandomStream& stream, uint64_t first) {
  const auto inputs = static_cast<double>(values.size(-1));
  const auto outputs = static_cast<double>(values.size(-2));
  if (options.scheme == "fan_in") {
    ops::fill_normal_(values, stream, factor * options.scale / std::sqrt(inputs), first);
  } else if (options.scheme == "normal") {
    ops::fill_normal_(values, stream, factor * options.std, first);
  } else if (options.scheme == "truncated_normal") {
    ops::fill_truncated_normal_(values, stream, factor * std::sqrt(options.scale / inputs), first);
  } else if (options.scheme == "xavier_uniform") {
    const double bound = factor * std::sqrt(6 / (inputs + outputs));
    ops::fill_uniform_(values, stream, -bound, bound, first);
  } else {
    ops::fill_normal_(values, stream, factor * std::sqrt(2 / inputs), first);
  }
}

void fill(const std::string& name, Tensor values, const InitOptions& options, uint64_t seed,
          int64_t depth, int64_t first_expert) {
  const std::string kind = last_component(name);
  const RandomStream stream(seed, name);
  if (starts_with(kind, "b_") || kind == "bias") {
    values.zero_();
  } else if (kind == "scale") {
    values.fill_(1);
  } else if (kind == "embedding") {
    ops::fill_normal_(values, stream, options.embedding_std);
  } else if (kind == "weight" && name.find("router") != std::string::npos) {
    ops::fill_normal_(values, stream, options.router_std);
  } else if (values.dim() < 2) {
    ops::fill_normal_(values, stream, options.std);
  } else {
    const bool residual = depth > 0 && (kind == "w_out" || kind == "w_o");
    const double factor = residual ? 1 / std::sqrt(2.0 * static_cast<double>(depth)) : 1;
    const int64_t per_expert = values.dim() == 3 ? values.size(1) * values.size(2) : 0;
    fill_matrix(values, options, factor, stream, static_cast<uint64_t>(first_expert * per_expert));
  }
}

}  // namespace

void InitOptions::validate(const std::string& place) const {
  check_one_of("config", concat(place, ".scheme"), scheme, kSchemes);
  for (const auto& [key, value] :
       {std::pair{"scale", scale}, std::pair{"std", std}, std::pair{"embedding_std", embedding_std},
        std::pair{"router_std", router_std}})
    check<ConfigError>(std::isfinite(value) && value >= 0, "config", "expected '", place, '.', key,
                       "' to be finite and at least 0, got ", value, ". Correct it.");
}

void initialise(torch::nn::Module& module, const InitOptions& options, uint64_t seed, int64_t depth,
                const std::string& prefix) {
  const at::NoGradGuard no_grad;
  options.validate("init");
  const auto* experts = dynamic_cast<const experts::Experts*>(&module);
  if (experts && experts->keeps_its_start()) return;
  const int64_t first_expert = experts ? experts->shape().first : 0;
  for (auto& item : module.named_parameters(/*recurse=*/false))
    fill(prefix + item.key(), item.value(), options, seed, depth, first_expert);
  for (const auto& child : module.named_children())
    initialise(*child.value(), options, seed, depth, prefix + child.key() + '.');
}

}  // namespace moe::layers
