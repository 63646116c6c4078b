#include <cmath>

#include <moe/analyze/metrics_file.h>
#include <moe/base/error.h>
#include <moe/formats/strict_json.h>

namespace moe::analyze {

namespace {

using nlohmann::json;

constexpr const char* kPlaceOfMetrics = "analyze/metrics";
constexpr size_t kLongestLine = size_t{1} << 28;

bool is_value(const json& value) {
  return value.is_number() || value.is_null();
}

double value_of(const json& value) {
  return value.is_null() ? std::nan("") : value.get<double>();
}

/// Adds the numbers below `object`, whose own name is `prefix`.
void flatten(const json& object, const std::string& prefix, MetricsLine& out) {
  for (const auto& [key, value] : object.items()) {
    if (is_value(value))
      out.values.emplace_back(prefix + key, value_of(value));
    else if (value.is_object())
      flatten(value, prefix + key + '.', out);
  }
}

/// One of "layers".
void read_layer(const json& layer, std::string_view what, MetricsLine& out) {
  const bool is_layer =
      layer.is_object() && layer.contains("layer") && layer["layer"].is_number_integer();
  check(is_layer, kPlaceOfMetrics, "expected objects with an integer 'layer' in 'layers' of ", what,
        ", got something else. The file is damaged.");
  const auto number = layer["layer"].get<int64_t>();
  for (const auto& [key, value] : layer.items()) {
    if (key == "layer") continue;
    if (is_value(value))
      out.values.emplace_back(concat("layers.", number, '.', key), value_of(value));
    if (key != "load" || !value.is_array()) continue;
    std::vector<double> load_E;
    for (const auto& share : value) {
      check(is_value(share), kPlaceOfMetrics, "expected numbers in 'load' of ", what,
            ", got something else. The file is damaged.");
      load_E.push_back(value_of(share));
    }
    out.loads.emplace_back(number, std::move(load_E));
  }
}

}  // namespace

std::optional<double> MetricsLine::find(std::string_view name) const {
  for (const auto& [key, value] : values)
    if (key == name) return value;
  return std::nullopt;
}

MetricsLine parse_metrics_line(std::string_view text, std::string_view what) {
  const json document = formats::parse_strict_json(text, kPlaceOfMetrics, what, {.depth = 4});
  const auto step = document.find("step");
  check(step != document.end() && step->is_number_integer(), kPlaceOfMetrics,
        "expected an integer 'step' in ", what, ", got ",
        step == document.end() ? "none" : formats::in_quotes(step->dump()),
        ". The file is damaged, or is no metrics.jsonl.");
  MetricsLine out{.step = step->get<int64_t>()};
  out.is_evaluation = document.contains("eval");
  for (const auto& [key, value] : document.items()) {
    if (key == "step") continue;
    if (key == "layers" && value.is_array())
      for (const auto& layer : value) read_layer(layer, what, out);
    else if (is_value(value))
      out.values.emplace_back(key, value_of(value));
    else if (value.is_object())
      flatten(value, key + '.', out);
  }
  return out;
}

int64_t read_metrics(
    const Path& path,
    const std::function<void(const MetricsLine& line, std::string_view text)>& take,
    DamagedLines damaged, FileSystem& files) {
  std::string rest;
  int64_t number = 0, skipped = 0;
  bool ended = false;
  const auto take_line = [&](std::string_view text) {
    ++number;
    MetricsLine line;
    try {
      line = parse_metrics_line(text, concat("line ", number, " of '", path.string(), '\''));
    } catch (const Error&) {
      if (damaged == DamagedLines::kRefuse) throw;
      ended = damaged == DamagedLines::kEnd;
      ++skipped;
      return;
    }
    take(line, text);
  };
  files.read(path, [&](std::span<const std::byte> bytes) {
    std::string_view piece(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    for (size_t end = piece.find('\n'); !ended && end != std::string_view::npos;
         end = piece.find('\n')) {
      rest += piece.substr(0, end);
      take_line(rest);
      rest.clear();
      piece.remove_prefix(end + 1);
    }
    if (!ended) rest += piece;
    check(rest.size() <= kLongestLine, kPlaceOfMetrics, "expected lines of at most ", kLongestLine,
          " bytes in '", path.string(), "', found a longer one behind line ", number,
          ". This is no metrics.jsonl.");
  });
  return damaged == DamagedLines::kSkip ? skipped : 0;
}

}  // namespace moe::analyze
