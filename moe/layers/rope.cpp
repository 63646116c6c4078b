// R rows of a table, T tokens, W numbers of a head that turn, N sequences.
#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include <moe/base/error.h>
#include <moe/base/fields.h>
#include <moe/layers/rope.h>

namespace moe {

void Rope::validate(const std::string& place) const {
  const auto key = [&](const char* name) { return detail::dotted(place, name); };
  const auto positive = [&](const char* name, double value, bool zero_too) {
    check<ConfigError>(
        std::isfinite(value) && (value > 0 || (zero_too && value == 0)), "config", "expected '",
        key(name), zero_too ? "' of at least 0, got " : "' above 0, got ", value, ". Correct it.");
  };
  check_one_of("config", key("kind"), kind, {"halves", "interleaved", "none"});
  check_one_of("config", key("scaling"), scaling,
               {"none", "linear", "dynamic", "yarn", "llama3", "longrope", "proportional"});
  for (const auto& [name, value] :
       {std::pair{"theta", theta}, std::pair{"factor", factor}, std::pair{"beta_fast", beta_fast},
        std::pair{"beta_slow", beta_slow}, std::pair{"low_frequency_factor", low_frequency_factor},
        std::pair{"high_frequency_factor", high_frequency_factor}})
    positive(name, value, false);
  for (const auto& [name, value] :
       {std::pair{"attention_factor", attention_factor}, std::pair{"mscale", mscale},
        std::pair{"mscale_all_dim", mscale_all_dim}, std::pair{"short_mscale", short_mscale},
        std::pair{"long_mscale", long_mscale}, std::pair{"alpha", alpha}})
    positive(name, value, true);
  check<ConfigError>(share > 0 && share <= 1, "config", "expected '", key("share"),
                     "' in (0, 1], got ", share, ". Correct it.");
  const bool by_length = scaling == "yarn" || scaling == "llama3" || scaling == "longrope" ||
                         (scaling == "dynamic" && alpha == 0);
  check<ConfigError>(original_length >= (by_length ? 1 : 0), "config", "expected '",
                     key("original_length"), "' of at least ", by_length ? 1 : 0, " beside ",
                     scaling, ", got ", original_length,
                     ". Set it to the positions that the model was trained for.");
  for (const auto& [name, values] :
       {std::pair{"short_factors", &short_factors}, std::pair{"long_factors", &long_factors}}) {
    check<ConfigError>((scaling == "longrope") == !values->empty(), "config", "expected '",
                       key(name), "' with longrope and with nothing else, got ", values->size(),
                       " beside ", scaling, ". Set scaling = longrope, or leave them out.");
    for (const double value : *values) positive(name, value, false);
  }
  check<ConfigError>(short_factors.size() == long_factors.size(), "config", "expected '",
                     key("short_factors"), "' and long_factors of one length, got ",
                     short_factors.size(), " and ", long_factors.size(), ". Correct them.");
}

}  // namespace moe

namespace moe::layers {

namespace {

constexpr const char* kPlaceOfRope = "layers/rope";

/// theta^(-2i/width) of W/2 pairs, float64.
Tensor plain_frequencies(double theta, int64_t W, int64_t width, const at::TensorOptions& wide) {
  return at::pow(theta, at::arange(0, W, 2, wide) * (-1.0 / static_cast<double>(width)));
}

bool depends_on_length(const Rope& rope) {
  return rope.scaling == "longrope" || (rope.scaling == "dynamic" && rope.alpha == 0);
}

/// Whether a sequence that ends at `length` is beyond those of the training.
bool is_long(const Rope& rope, int64_t length) {
  return length > rope.original_length;
}

/// The base of dynamic scaling at `length` (Emozilla, bloc97).
double dynamic_theta(const Rope& rope, int64_t W, int64_t length) {
  check(W > 2, kPlaceOfRope, "expected more than 2 numbers of a head to turn beside dynamic, got ",
        W, ". Choose another scaling.");
  const auto w = static_cast<double>(W);
  double growth = rope.alpha;
  if (growth == 0) {
    const auto original = static_cast<double>(rope.original_length);
    const double end = std::max(static_cast<double>(length), original);
    growth = rope.factor * end / original - (rope.factor - 1);
  }
  return rope.theta * std::pow(growth, w / (w - 2));
}

/// YaRN (Peng et al. 2023): a pair that turns often over the original length keeps its frequency,
/// one that turns less than beta_slow times has it divided by factor, between them a ramp.
void scale_by_yarn(const Rope& rope, int64_t W, double* f) {
  const auto pair_of = [&](double turns) {
    return static_cast<double>(W) *
           std::log(static_cast<double>(rope.original_length) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = pair_of(rope.beta_fast), high = pair_of(rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, static_cast<double>(W - 1));
  if (low == high) high += 0.001;
  for (int64_t i = 0; i < W / 2; ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    f[i] = f[i] / rope.factor * ramp + f[i] * (1 - ramp);
  }
}

/// Llama 3.1: by the wavelength of a pair, against the original length.
void scale_by_wavelength(const Rope& rope, int64_t W, double* f) {
  const auto original = static_cast<double>(rope.original_length);
  for (int64_t i = 0; i < W / 2; ++i) {
    const double wavelength = 2 * std::numbers::pi / f[i];
    if (wavelength > original / rope.low_frequency_factor) {
      f[i] /= rope.factor;
    } else if (wavelength > original / rope.high_frequency_factor) {
      const double smooth = (original / wavelength - rope.low_frequency_factor) /
                            (rope.high_frequency_factor - rope.low_frequency_factor);
      f[i] = (1 - smooth) * f[i] / rope.factor + smooth * f[i];
    }
  }
}

void scale_by_list(const std::vector<double>& divisors, int64_t W, double* f) {
  check(static_cast<int64_t>(divisors.size()) == W / 2, kPlaceOfRope, "expected ", W / 2,
        " factors of longrope, one for each pair that turns, got ", divisors.size(),
        ". Correct short_factors and long_factors.");
  for (int64_t i = 0; i < W / 2; ++i) f[i] /= divisors[static_cast<size_t>(i)];
}

/// (W/2) float64 on the CPU: frequencies in a sequence that ends at `length`. `width` is that of
/// the whole head.
Tensor scaled_frequencies(const Rope& rope, int64_t width, int64_t length) {
  const auto wide = at::TensorOptions(at::kDouble);
  const int64_t W = turning_width(rope, width);
  if (rope.scaling == "dynamic")
    return plain_frequencies(dynamic_theta(rope, W, length), W, W, wide);
  Tensor out = plain_frequencies(rope.theta, W, W, wide);
  auto* const f = out.mutable_data_ptr<double>();
  if (rope.scaling == "linear") {
    out /= rope.factor;
  } else if (rope.scaling == "yarn") {
    scale_by_yarn(rope, W, f);
  } else if (rope.scaling == "llama3") {
    scale_by_wavelength(rope, W, f);
  } else if (rope.scaling == "longrope") {
    scale_by_list(is_long(rope, length) ? rope.long_factors : rope.short_factors, W, f);
  } else if (rope.scaling == "proportional") {
    out /= rope.factor;
    // The first of the whole head's pairs turn, the others stand still.
    const auto turning = static_cast<int64_t>(rope.share * static_cast<double>(width)) / 2;
    out.narrow(0, turning, W / 2 - turning).zero_();
  }
  return out;
}

double yarn_mscale(double factor, double strength) {
  return factor <= 1 ? 1.0 : 0.1 * strength * std::log(factor) + 1;
}

/// What cosines and sines are multiplied by.
double amplitude(const Rope& rope, int64_t length) {
  if (rope.scaling == "longrope") {
    const double named = is_long(rope, length) ? rope.long_mscale : rope.short_mscale;
    if (named > 0) return named;
  }
  if (rope.attention_factor > 0) return rope.attention_factor;
  if (rope.scaling == "yarn") {
    if (rope.mscale > 0 && rope.mscale_all_dim > 0)
      return yarn_mscale(rope.factor, rope.mscale) / yarn_mscale(rope.factor, rope.mscale_all_dim);
    return yarn_mscale(rope.factor, 1);
  }
  if (rope.scaling == "longrope" && rope.factor > 1)
    return std::sqrt(1 +
                     std::log(rope.factor) / std::log(static_cast<double>(rope.original_length)));
  return 1;
}

/// Positions of the tokens, as few rows as will do.
struct Places {
  Tensor position_R, row_T;
};

Places places_of(const Sequences& sequences, at::Device device) {
  if (!sequences.first_position.empty())
    return {sequences.position_T(device), {}};  // few tokens, far into their sequences
  Places out;
  out.position_R =
      at::arange(sequences.runs.longest(), at::TensorOptions(at::kLong).device(device));
  if (sequences.runs.equal_length() == 0) out.row_T = sequences.runs.place_T(device);
  return out;
}

/// What a sequence's end so far decides: the same number, the same frequencies.
int64_t length_class(const Rope& rope, int64_t end) {
  return rope.scaling == "longrope" ? (is_long(rope, end) ? 1 : 0)
                                    : std::max(end, rope.original_length);
}

}  // namespace

int64_t turning_width(const Rope& rope, int64_t width) {
  if (rope.kind == "none") return 0;
  if (rope.scaling == "proportional") return width;
  return static_cast<int64_t>(rope.share * static_cast<double>(width));
}

ops::RopeTable rope_table(const Rope& rope, const Sequences& sequences, int64_t width,
                          const at::TensorOptions& like) {
  const at::Device device = like.device();
  const bool interleaved = rope.kind == "interleaved";
  const int64_t W = turning_width(rope, width);
  check(W > 0 && W % 2 == 0, kPlaceOfRope, "expected an even number of a head's ", width,
        " numbers to turn, got ", W, ". Choose another width or share.");
  if (rope.scaling == "none") {
    auto [position_R, row_T] = places_of(sequences, device);
    const auto frequency =
        plain_frequencies(rope.theta, W, W, like.dtype(at::kDouble).requires_grad(false));
    return ops::rope_table(position_R, row_T, frequency, interleaved, like, amplitude(rope, 0));
  }
  std::vector<int64_t> ends;
  bool equal = true;
  for (int64_t n = 0; n < sequences.count(); ++n) {
    ends.push_back(sequences.first_position_of(n) + sequences.runs.length(n));
    equal = equal && length_class(rope, ends.back()) == length_class(rope, ends.front());
  }
  if (equal || !depends_on_length(rope)) {
    const int64_t end = ends.empty() ? 0 : ends.front();
    auto [position_R, row_T] = places_of(sequences, device);
    return ops::rope_table(position_R, row_T, scaled_frequencies(rope, width, end).to(device),
                           interleaved, like, amplitude(rope, end));
  }
  std::vector<Tensor> frequencies;
  std::vector<double> amplitudes;
  for (const int64_t end : ends) {
    frequencies.push_back(scaled_frequencies(rope, width, end));
    amplitudes.push_back(amplitude(rope, end));
  }
  const Tensor run_T = sequences.runs.run_T(device);
  const Tensor amplitude_N1 = at::tensor(amplitudes, at::kDouble).unsqueeze(1).to(device);
  return ops::rope_table(sequences.position_T(device), {},
                         at::stack(frequencies).to(device).index_select(0, run_T), interleaved,
                         like, amplitude_N1.index_select(0, run_T));
}

double yarn_score_scale(const Rope& rope) {
  if (rope.scaling != "yarn" || rope.mscale_all_dim == 0) return 1;
  const double one = yarn_mscale(rope.factor, rope.mscale_all_dim);
  return one * one;
}

}  // namespace moe::layers
