#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <moe/ops/random_fill.h>
#include <moe/parameters/initialise.h>
#include <moe/parameters/list.h>

namespace moe {

namespace {

using at::Tensor;

const std::vector<std::string> kSchemes = {"fan_in", "normal", "truncated_normal", "xavier_uniform",
                                           "kaiming_normal"};

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

void fill(const Parameter& parameter, const InitOptions& options, const RandomStream& stream,
          int64_t depth) {
  const auto& [name, values, info] = parameter;
  switch (info.role) {
    case Role::kBias:
    case Role::kState:
      Tensor(values).zero_();
      return;
    case Role::kScale:
      Tensor(values).fill_(1);
      return;
    case Role::kEmbedding:
      ops::fill_normal_(values, stream, options.embedding_std);
      return;
    case Role::kScores:
      ops::fill_normal_(values, stream, options.router_std);
      return;
    case Role::kHead:
    case Role::kMatrix:
      if (values.dim() < 2) return ops::fill_normal_(values, stream, options.std);
      const bool scaled = info.residual && depth > 0;
      const double factor = scaled ? 1 / std::sqrt(2.0 * static_cast<double>(depth)) : 1;
      const int64_t per_expert =
          info.per_expert && values.numel() > 0 ? values.numel() / values.size(0) : 0;
      const auto first = [&](int64_t expert) { return static_cast<uint64_t>(expert * per_expert); };
      if (info.used.empty()) {
        if (!info.per_expert) return fill_matrix(values, options, factor, stream, 0);
        for (const auto& run : runs_of(info, values.size(0)))
          fill_matrix(values.narrow(0, run.row, run.count), options, factor, stream,
                      first(run.first));
        return;
      }
      Tensor(values).zero_();
      for (int64_t e = 0; e < values.size(0); ++e) {
        const auto [rows, columns] = info.used[static_cast<size_t>(e)];
        const Tensor part = at::empty({rows, columns}, values.options());
        fill_matrix(part, options, factor, stream, first(info.number_of(e)));
        values[e].narrow(0, 0, rows).narrow(1, 0, columns).copy_(part);
      }
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
  for (const Parameter& parameter : tensors_of(module)) {
    if (parameter.info.keeps_start) continue;
    const RandomStream stream(seed, prefix + parameter.name);
    if (parameter.info.start)
      parameter.info.start(parameter.tensor, stream);
    else
      fill(parameter, options, stream, depth);
  }
}

}  // namespace moe
