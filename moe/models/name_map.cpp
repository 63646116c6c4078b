#include <algorithm>
#include <ranges>
#include <set>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <c10/util/accumulate.h>

#include <moe/base/error.h>
#include <moe/base/glob.h>
#include <moe/models/name_map.h>
#include <moe/models/name_pattern.h>

namespace moe::models {

namespace {

constexpr const char* kPlaceOfNames = "models/names";

}  // namespace

NameRule same(std::string theirs, std::string ours) {
  return {.theirs = std::move(theirs), .ours = {{std::move(ours)}}};
}

NameRule stacked(std::string theirs, std::string ours, int64_t matrix) {
  check(theirs.find("{e}") != theirs.npos, kPlaceOfNames, "expected {e} in '", theirs,
        "', found none. Say where the expert's number stands.");
  return {.theirs = std::move(theirs), .ours = {{std::move(ours), matrix}}};
}

NameRule part(std::string theirs, std::string ours, int64_t matrix) {
  return {.theirs = std::move(theirs), .ours = {{std::move(ours), matrix}}};
}

NameRule fused(std::string theirs, std::vector<OurPart> ours) {
  return {.theirs = std::move(theirs), .ours = std::move(ours)};
}

NameRule arranged(NameRule rule, Layout layout) {
  rule.layouts.push_back(std::move(layout));
  return rule;
}

NameRule transposed(NameRule rule) {
  return arranged(std::move(rule), transposition());
}

NameRule tied(std::string theirs, std::string ours) {
  return {.theirs = std::move(theirs), .ours = {{std::move(ours)}}, .kind = NameRule::Kind::kTied};
}

NameRule ignored(std::string theirs, std::string beside) {
  return {
      .theirs = std::move(theirs), .kind = NameRule::Kind::kIgnored, .beside = std::move(beside)};
}

bool ForeignTensor::is_parameter() const {
  return pieces.size() == 1 && steps.empty() && !pieces[0].expert && pieces[0].rows == kAllRows;
}

Tensor piece_of(const ForeignTensor::Piece& piece, const Tensor& parameter) {
  Tensor out = piece.expert ? parameter.select(0, *piece.expert) : parameter;
  return piece.rows == kAllRows ? out : out.narrow(piece.outputs, piece.first_row, piece.rows);
}

Tensor to_foreign(const ForeignTensor& tensor, const std::function<Tensor(size_t)>& ours) {
  std::vector<Tensor> pieces;
  for (const auto& piece : tensor.pieces) pieces.push_back(piece_of(piece, ours(piece.parameter)));
  Tensor out = pieces.size() == 1 ? pieces[0] : at::cat(pieces, tensor.pieces[0].outputs);
  for (const auto& step : tensor.steps) out = step.layout.to_theirs(out);
  return out;
}

void from_foreign(const ForeignTensor& tensor, const Tensor& values,
                  const std::function<Tensor(size_t)>& ours) {
  const at::NoGradGuard no_grad;
  Tensor whole = values;
  for (const auto& step : tensor.steps | std::views::reverse)
    whole = step.layout.to_ours(whole, step.sizes);
  int64_t row = 0;
  for (const auto& piece : tensor.pieces) {
    Tensor target = piece_of(piece, ours(piece.parameter));
    const int64_t rows = target.dim() > 0 ? target.size(piece.outputs) : 1;
    target.copy_(tensor.pieces.size() == 1 ? whole : whole.narrow(piece.outputs, row, rows));
    row += rows;
  }
}

std::optional<size_t> TensorMap::tied_to(const std::string& name) const {
  const auto found = tied_.find(name);
  return found == tied_.end() ? std::nullopt : std::optional(found->second);
}

bool TensorMap::ignores(std::string_view name) const {
  return std::ranges::any_of(ignored_,
                             [&](const auto& pattern) { return glob_match(pattern, name); });
}

void TensorMap::check_tensors(const TensorShapes& shapes, std::string_view source) const {
  std::vector<std::string> wrong;
  std::set<std::string_view> known;
  const auto expect_shape = [&](const std::string& name, const std::vector<int64_t>& shape) {
    known.insert(name);
    const auto found = shapes.find(name);
    if (found != shapes.end() && found->second != shape)
      wrong.push_back(concat("'", name, "' has the shape ", c10::IntArrayRef(found->second),
                             " instead of ", c10::IntArrayRef(shape)));
    return found != shapes.end();
  };
  for (const auto& tensor : tensors_)
    if (!expect_shape(tensor.name, tensor.shape))
      wrong.push_back(concat("'", tensor.name, "' is missing"));
  for (const auto& [name, shape] : tied_shapes_) expect_shape(name, shape);
  for (const auto& [name, shape] : shapes)
    if (!known.contains(name) && !ignores(name)) wrong.push_back(concat("'", name, "' is unknown"));
  if (!wrong.empty())
    fail(kPlaceOfNames, "expected the tensors that config.json describes in ", source, ", got ",
         wrong.size(), " that differ. Check that configuration and weights belong together.",
         indented_list(wrong));
}

}  // namespace moe::models
