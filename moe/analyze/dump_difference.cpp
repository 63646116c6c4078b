#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include <moe/analyze/dump_difference.h>
#include <moe/base/error.h>
#include <moe/formats/safetensors.h>

namespace moe::analyze {

namespace {

/// When a pass makes the tensor: the number of its layer, or behind all layers.
std::pair<int, int64_t> place_of(const std::string& name) {
  constexpr std::string_view kLayers = "layers.";
  int64_t number = 0;
  if (name.starts_with("grad.")) return {2, 0};
  if (!name.starts_with(kLayers)) return {1, 0};
  std::from_chars(name.data() + kLayers.size(), name.data() + name.size(), number);
  return {0, number};
}

void compare_values(const at::Tensor& a, const at::Tensor& b, const Tolerance& tolerance,
                    TensorDifference& out) {
  const double* x = a.const_data_ptr<double>();
  const double* y = b.const_data_ptr<double>();
  for (int64_t i = 0; i < out.elements; ++i) {
    double distance = std::abs(x[i] - y[i]);
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i])))
      distance = 0;  // equal infinities too
    else if (std::isnan(distance))
      distance = std::numeric_limits<double>::infinity();
    const double allowed = tolerance.absolute + tolerance.relative * std::abs(y[i]);
    out.beyond += distance > 0 && !(distance <= allowed && std::isfinite(y[i]));
    if (distance > out.largest || i == 0)
      out.largest = distance, out.index = i, out.a = x[i], out.b = y[i];
  }
}

TensorDifference compare(const std::string& name, const formats::SafetensorsFile& a,
                         const formats::SafetensorsFile& b, const Tolerance& tolerance) {
  TensorDifference out{.name = name};
  if (!a.contains(name) || !b.contains(name)) {
    out.mismatch = a.contains(name) ? "only in the first" : "only in the second";
    return out;
  }
  const at::Tensor of_a = a.tensor(name), of_b = b.tensor(name);
  if (of_a.sizes() != of_b.sizes()) {
    out.mismatch = concat("shape ", of_a.sizes(), " and ", of_b.sizes());
    return out;
  }
  out.elements = of_a.numel();
  compare_values(of_a.to(at::kDouble).contiguous(), of_b.to(at::kDouble).contiguous(), tolerance,
                 out);
  return out;
}

}  // namespace

DumpDifference compare_dumps(const Path& a, const Path& b, const Tolerance& tolerance) {
  check<ConfigError>(tolerance.absolute >= 0 && tolerance.relative >= 0, "analyze/difference",
                     "expected tolerances of at least 0, got ", tolerance.absolute, " and ",
                     tolerance.relative, ". Correct --absolute or --relative.");
  const auto file_a = formats::SafetensorsFile::open(a), file_b = formats::SafetensorsFile::open(b);
  std::vector<std::string> names = file_a.names();
  for (const auto& name : file_b.names())
    if (!file_a.contains(name)) names.push_back(name);
  std::ranges::stable_sort(names, {}, place_of);
  DumpDifference out;
  for (const auto& name : names) {
    out.tensors.push_back(compare(name, file_a, file_b, tolerance));
    if (out.tensors.back().differs() && !out.first) out.first = out.tensors.size() - 1;
  }
  return out;
}

}  // namespace moe::analyze
